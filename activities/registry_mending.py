"""How each difference between index and storage is mended."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlmodel import Session

from fleetwide.errors import Conflict, Denied, FleetwideError, InvalidInput, NotFound
from fleetwide.models.registry_gc import Adoption, Difference, Found, ReconcileOne
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.registry.manifests import MAX_MANIFEST, ParsedManifest, parse_manifest
from fleetwide.store import (
    registry_admission,
    registry_blobs,
    registry_broken,
    registry_manifests,
    registry_repositories,
    registry_tags,
    registry_views,
)
from fleetwide.store.registry_admission import Rules
from fleetwide.store.registry_gc import LINK, REVISION
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import RepositoryBlobRow, RepositoryRow
from fleetwide.store.session import Store

WHO = "reconciliation"
TOLD = "told only"
ADOPTED = "adopted"
MAX_DEPTH = 8
"""Of indexes in indexes; Distribution itself takes no circle."""


class _NoMore(Exception):
    """The difference is none any more; whatever was begun of its mending is undone."""


@dataclass(frozen=True)
class Terms:
    """What was written after ``settled`` is left alone; the rest is what a push goes by."""

    settled: datetime
    lease: timedelta
    rules: Rules


@dataclass
class Mender:
    """Mends the differences of one repository; each is looked at again before it is touched.

    ``done`` of what it answers says what was done; it is empty where the difference is none any
    more. What is compared and then written is so while the repository is locked: a push records
    before it, and is seen, or after it, and has the last word.
    """

    store: Store
    storage: RegistryStorage
    one: ReconcileOne
    terms: Terms
    _adopted: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.one.name

    @property
    def adopts(self) -> bool:
        return self.one.adoption is Adoption.ADOPT

    def mend(self, found: Found) -> Found:
        """The difference with what was done about it."""
        mends: dict[Difference, Callable[[Found], str]] = {
            Difference.MISSING_LINK: self._missing_link,
            Difference.UNKNOWN_LINK: self._unknown_link,
            Difference.MISSING_MANIFEST: self._missing_manifest,
            Difference.UNKNOWN_MANIFEST: self._unknown_manifest,
            Difference.UNKNOWN_TAG: self._strange_tag,
            Difference.TAG_DIFFERS: self._strange_tag,
            Difference.ENDED_TAG: self._ended_tag,
            Difference.MISSING_TAG: self._missing_tag,
        }
        try:
            done = mends[found.kind](found)
        except _NoMore:
            done = ""
        except FleetwideError as error:
            if not isinstance(error, InvalidInput) and error.traits.retryable:
                raise
            done = f"{TOLD}: {error.message}"
        return found.model_copy(update={"done": done})

    def found_beside(self, known: Collection[Found]) -> list[Found]:
        """Manifests that were adopted with their index, and are not among the differences."""
        beside = sorted(self._adopted - {one.name for one in known})
        self._adopted.clear()
        done = f"{ADOPTED} with an index"
        return [Found(kind=Difference.UNKNOWN_MANIFEST, name=one, done=done) for one in beside]

    @contextmanager
    def _locked(self) -> Iterator[tuple[Session, RepositoryRow]]:
        """The repository, made when it is new, and kept from every other writer.

        Who finds nothing to mend there raises ``_NoMore``: one that was deleted meanwhile, with
        all that Distribution had of it, does not come back.
        """
        with self.store.write() as session:
            try:
                now = datetime.now(UTC)
                repository = registry_repositories.ensure(session, self.name, by=WHO, now=now)
                locked = registry_repositories.lock_live(session, repository)
            except (NotFound, Conflict) as gone:
                raise _NoMore from gone
            yield session, locked

    def _missing_link(self, found: Found) -> str:
        if self.storage.blob(found.name) is None:
            return ""  # the comparison of blobs will tell of it
        with self.store.write() as session:
            repository = registry_repositories.find(session, self.name)
            if repository is None or not _member(session, repository, found.name):
                return ""
            self.storage.link_layer(self.name, found.name)
        return "linked again"

    def _unknown_link(self, found: Found) -> str:
        if self.storage.blob(found.name) is None:
            self.storage.unlink_layer(self.name, found.name)
            return "unlinked: there are no bytes"
        if not self.adopts:
            return TOLD
        with self._locked() as (session, repository):
            going = registry_views.is_going(session, LINK, id_of(repository), found.name)
            entry = self.storage.blob(found.name)
            if going or entry is None or not self.storage.has_layer(self.name, found.name):
                raise _NoMore
            now = datetime.now(UTC)
            lease = now + self.terms.lease
            size = entry.size
            registry_blobs.admit(session, repository, found.name, size, now=now, lease_until=lease)
            # That waits for garbage collection, which may have been removing it.
            if self.storage.blob(found.name) is None:
                raise _NoMore
        return "belongs now, until a review"

    def _missing_manifest(self, found: Found) -> str:
        with self.store.write() as session:
            repository = registry_repositories.find(session, self.name)
            if repository is None:
                return ""
            number = id_of(registry_repositories.lock(session, repository))
            row = registry_manifests.find(session, number, found.name)
            if row is None:
                return ""
            self.storage.put_manifest(self.name, found.name, row.data)
        return "put there again"

    def _unknown_manifest(self, found: Found) -> str:
        return self._adopt(found.name, 0)

    def _adopt(self, digest: str, depth: int) -> str:
        """Take a manifest over, with the manifests that it refers to before it."""
        link = self.storage.revision(self.name, digest)
        if link is None or link.modified_at > self.terms.settled:
            raise _NoMore
        if digest in self._adopted:
            return ADOPTED
        parsed = self._parsed(digest)
        if parsed is None:
            return f"{TOLD}: it is no manifest that can be served"
        if not self.adopts:
            return TOLD
        self._adopt_children(parsed, depth)
        with self._locked() as (session, repository):
            going = registry_views.is_going(session, REVISION, id_of(repository), digest)
            if going or self.storage.revision(self.name, digest) is None:
                raise _NoMore
            push = registry_manifests.Push(by=WHO, at=datetime.now(UTC))
            registry_manifests.record(session, repository, parsed, push)
        self._adopted.add(digest)
        return ADOPTED

    def _adopt_children(self, parsed: ParsedManifest, depth: int) -> None:
        children = [child.digest for child in parsed.children]
        if not children or depth == MAX_DEPTH:
            return
        with self.store.read() as session:
            repository = registry_repositories.find(session, self.name)
            if repository is not None:
                children = registry_manifests.missing(session, id_of(repository), children)
        for child in children:
            try:
                self._adopt(child, depth + 1)
            except _NoMore:
                continue  # the record of the index tells that it is missing

    def _parsed(self, digest: str) -> ParsedManifest | None:
        """A manifest as the storage has it; None where it is none."""
        entry, chunks = self.storage.blob(digest), self.storage.read_blob(digest)
        if entry is None or chunks is None or entry.size > MAX_MANIFEST:
            return None
        try:
            parsed = parse_manifest(b"".join(chunks), "")
        except InvalidInput:
            return None
        return parsed if parsed.digest == digest else None

    @contextmanager
    def _as_found(self, found: Found) -> Iterator[tuple[Session, RepositoryRow]]:
        """The repository, locked, where both sides mean by the tag what they were found to mean."""
        with self._locked() as (session, repository):
            row = registry_tags.live(session, id_of(repository), found.name)
            stored = self.storage.tag(self.name, found.name)
            meanings = (row.digest if row else "", stored.digest if stored else "")
            if meanings != (found.index, found.storage):
                raise _NoMore
            yield session, repository

    def _strange_tag(self, found: Found) -> str:
        """Somebody wrote the tag to Distribution alone."""
        if self.adopts:
            try:
                return self._adopted_tag(found)
            except Denied as denied:
                if found.kind is Difference.UNKNOWN_TAG:
                    return f"{TOLD}: {denied.message}"
        return TOLD if found.kind is Difference.UNKNOWN_TAG else self._missing_tag(found)

    def _adopted_tag(self, found: Found) -> str:
        digest = found.storage
        with self._as_found(found) as (session, repository):
            rules = self.terms.rules
            registry_admission.check_tags(session, repository, [found.name], digest, rules, by=WHO)
            now = datetime.now(UTC)
            registry_tags.move(session, repository, found.name, digest, by=WHO, now=now)
        return f"{ADOPTED}: means {digest}"

    def _missing_tag(self, found: Found) -> str:
        with self._as_found(found):
            self.storage.put_tag(self.name, found.name, found.index)
        return f"means {found.index} there again"

    def _ended_tag(self, found: Found) -> str:
        with self._as_found(found):
            self.storage.unlink_tag(self.name, found.name)
        return "removed there too"


def _member(session: Session, repository: RepositoryRow, digest: str) -> bool:
    """Whether the blob belongs to the repository; it does until the transaction ends."""
    registry_broken.lock_blob(session, digest)
    key = (repository.id, digest)
    return session.get(RepositoryBlobRow, key, populate_existing=True) is not None

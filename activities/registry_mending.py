"""How each difference between index and storage is mended."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlmodel import Session

from fleetwide.errors import Denied, FleetwideError, InvalidInput
from fleetwide.models.registry_gc import Adoption, Difference, Found, ReconcileOne
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.registry.manifests import MAX_MANIFEST, ParsedManifest, parse_manifest
from fleetwide.store import (
    registry_admission,
    registry_blobs,
    registry_manifests,
    registry_repositories,
    registry_tags,
    registry_views,
)
from fleetwide.store.registry_admission import Rules
from fleetwide.store.registry_gc import LINK, REVISION
from fleetwide.store.registry_tables import RepositoryBlobRow, RepositoryRow
from fleetwide.store.session import Store

WHO = "reconciliation"
TOLD = "told only"


@dataclass
class Mender:
    """Mends the differences of one repository; each is looked at again before it is touched.

    What was written after ``settled`` is left alone. ``done`` of what it answers says what was
    done; it is empty where the difference is none any more.
    """

    store: Store
    storage: RegistryStorage
    one: ReconcileOne
    settled: datetime
    lease: timedelta
    rules: Rules
    _manifests: dict[str, ParsedManifest | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.one.name

    @property
    def adopts(self) -> bool:
        return self.one.adoption is Adoption.ADOPT

    def in_order(self, found: Iterable[Found]) -> list[Found]:
        """Blobs before manifests, manifests before the indexes of them, tags last."""
        return sorted(found, key=self._rank)

    def _rank(self, found: Found) -> tuple[int, bool]:
        stages = (
            (Difference.MISSING_LINK, Difference.UNKNOWN_LINK),
            (Difference.MISSING_MANIFEST, Difference.UNKNOWN_MANIFEST),
        )
        stage = next((n for n, kinds in enumerate(stages) if found.kind in kinds), len(stages))
        index = False
        if found.kind is Difference.UNKNOWN_MANIFEST:
            parsed = self._parsed(found.name)
            index = parsed is not None and bool(parsed.children)
        return stage, index

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
        except FleetwideError as error:
            if not isinstance(error, InvalidInput) and error.traits.retryable:
                raise
            done = f"{TOLD}: {error.message}"
        return found.model_copy(update={"done": done})

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
        entry = self.storage.blob(found.name)
        if entry is None:
            self.storage.unlink_layer(self.name, found.name)
            return "unlinked: there are no bytes"
        if not self.adopts:
            return TOLD
        with self.store.write() as session:
            repository = self._repository(session)
            if registry_views.is_going(session, LINK, repository.id or 0, found.name):
                return ""
            now = datetime.now(UTC)
            registry_blobs.admit(
                session, repository, found.name, entry.size, now=now, lease_until=now + self.lease
            )
        return "belongs now, until a review"

    def _repository(self, session: Session) -> RepositoryRow:
        return registry_repositories.ensure(session, self.name, by=WHO, now=datetime.now(UTC))

    def _missing_manifest(self, found: Found) -> str:
        with self.store.read() as session:
            repository = registry_repositories.find(session, self.name)
            row = (
                registry_manifests.find(session, repository.id or 0, found.name)
                if repository is not None
                else None
            )
        if row is None:
            return ""
        self.storage.put_manifest(self.name, found.name, row.data)
        return "put there again"

    def _unknown_manifest(self, found: Found) -> str:
        link = self.storage.revision(self.name, found.name)
        if link is None or link.modified_at > self.settled:
            return ""
        parsed = self._parsed(found.name)
        if parsed is None:
            return f"{TOLD}: it is no manifest that can be served"
        if not self.adopts:
            return TOLD
        with self.store.write() as session:
            repository = self._repository(session)
            if registry_views.is_going(session, REVISION, repository.id or 0, found.name):
                return ""
            push = registry_manifests.Push(by=WHO, at=datetime.now(UTC))
            registry_manifests.record(session, repository, parsed, push)
        return "adopted"

    def _parsed(self, digest: str) -> ParsedManifest | None:
        """A manifest as the storage has it; None where it is none."""
        if digest not in self._manifests:
            self._manifests[digest] = self._parse(digest)
        return self._manifests[digest]

    def _parse(self, digest: str) -> ParsedManifest | None:
        entry, chunks = self.storage.blob(digest), self.storage.read_blob(digest)
        if entry is None or chunks is None or entry.size > MAX_MANIFEST:
            return None
        try:
            parsed = parse_manifest(b"".join(chunks), "")
        except InvalidInput:
            return None
        return parsed if parsed.digest == digest else None

    def _strange_tag(self, found: Found) -> str:
        """Somebody wrote the tag to Distribution alone."""
        stored = self.storage.tag(self.name, found.name)
        if stored is None or stored.digest != found.storage:
            return ""
        if self.adopts:
            try:
                return self._adopted(found)
            except Denied as denied:
                if found.kind is Difference.UNKNOWN_TAG:
                    return f"{TOLD}: {denied.message}"
        return TOLD if found.kind is Difference.UNKNOWN_TAG else self._missing_tag(found)

    def _adopted(self, found: Found) -> str:
        with self.store.write() as session:
            repository = self._repository(session)
            if _meaning(session, repository, found.name) != found.index:
                return ""
            registry_admission.check_tags(
                session, repository, [found.name], found.storage, self.rules, by=WHO
            )
            now = datetime.now(UTC)
            registry_tags.move(session, repository, found.name, found.storage, by=WHO, now=now)
        return f"adopted: means {found.storage}"

    def _missing_tag(self, found: Found) -> str:
        with self.store.read() as session:
            repository = registry_repositories.find(session, self.name)
            now = _meaning(session, repository, found.name) if repository else ""
        if now != found.index:
            return ""
        self.storage.put_tag(self.name, found.name, found.index)
        return f"means {found.index} there again"

    def _ended_tag(self, found: Found) -> str:
        with self.store.read() as session:
            repository = registry_repositories.find(session, self.name)
            if repository is None or _meaning(session, repository, found.name):
                return ""
        stored = self.storage.tag(self.name, found.name)
        if stored is None or stored.digest != found.storage:
            return ""
        self.storage.unlink_tag(self.name, found.name)
        return "removed there too"


def _meaning(session: Session, repository: RepositoryRow, name: str) -> str:
    row = registry_tags.live(session, repository.id or 0, name)
    return row.digest if row is not None else ""


def _member(session: Session, repository: RepositoryRow, digest: str) -> bool:
    """Whether the blob belongs to the repository; it does until the transaction ends."""
    registry_views.lock_blob(session, digest)
    key = (repository.id, digest)
    return session.get(RepositoryBlobRow, key, populate_existing=True) is not None

"""A registry's index and storage without servers: pushed to as the gateway and Distribution do.

The storage is a folder in Distribution's own layout. Each step of a push stands alone, so that
tests can let anything happen between two of them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import Session, col, select

from activities.registry_collector import Collector
from fleetwide.models.registry_gc import GarbageBatch, GarbageReport
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.registry.references import ImageReference
from fleetwide.store import registry_blobs, registry_manifests, registry_repositories, registry_tags
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    TagRow,
)
from fleetwide.store.session import Store
from tests.registry_index import blob

NO_TIME = timedelta()


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Shelf:
    """Index and storage; ``lease`` is what pushes take, ``delay`` what reviews wait."""

    store: Store
    storage: RegistryStorage
    root: Path
    lease: timedelta = NO_TIME
    collector: Collector = field(init=False)

    def __post_init__(self) -> None:
        self.collector = Collector(self.store, self.storage, self.lease, NO_TIME)

    def send(self, repository: str, *names: str) -> None:
        """Blobs arrive at Distribution; the index does not know yet."""
        for name in names:
            self.storage.put_blob(blob(name), [name.encode()])
            self.storage.link_layer(repository, blob(name))

    def has(self, repository: str, digest: str) -> bool:
        """Whether Distribution serves the blob there."""
        linked = self.storage.has_layer(repository, digest)
        return linked and self.storage.blob(digest) is not None

    def admit(self, repository: str, *names: str) -> None:
        """The gateway hears of blobs, as by the HEAD after each upload."""
        for name in names:
            at = now()
            with self.store.write() as session:
                row = registry_repositories.ensure(session, repository, by="tests", now=at)
                lease = at + self.lease
                size = len(name)
                registry_blobs.admit(session, row, blob(name), size, now=at, lease_until=lease)

    def upload(self, repository: str, *names: str) -> None:
        self.send(repository, *names)
        self.admit(repository, *names)

    def put(self, repository: str, parsed: ParsedManifest, tags: Sequence[str] = ()) -> None:
        """Distribution takes a manifest."""
        self.storage.put_manifest(repository, parsed.digest, parsed.data)
        for tag in tags:
            self.storage.put_tag(repository, tag, parsed.digest)

    def record(self, repository: str, parsed: ParsedManifest, tags: Sequence[str] = ()) -> None:
        """The last step of a push."""
        with self.store.write() as session:
            row = registry_repositories.ensure(session, repository, by="tests", now=now())
            # As the gateway does: the moment is one after all that has locked it before.
            row = registry_repositories.lock_live(session, row)
            push = registry_manifests.Push("tests", now(), tags)
            registry_manifests.record(session, row, parsed, push)

    def push(self, repository: str, parsed: ParsedManifest, *tags: str) -> ParsedManifest:
        """A whole push of a manifest whose blobs were uploaded."""
        self.put(repository, parsed, tags)
        self.record(repository, parsed, tags)
        return parsed

    def untag(self, repository: str, tag: str) -> None:
        with self.store.write() as session:
            row = registry_repositories.require(session, repository)
            registry_tags.delete(session, row, tag, by="tests", now=now())

    def collect(self) -> GarbageReport:
        """A whole collection."""
        report = GarbageReport()
        while True:
            done = self.collector.reviews(GarbageBatch(limit=100, per_second=1e6), lambda _: None)
            report = report.plus(done.report)
            if not done.more:
                return report

    def manifests(self, repository: str) -> set[str]:
        """What the index has."""
        with self.store.read() as session:
            row = registry_repositories.require(session, repository)
            query = select(ManifestRow.digest).where(ManifestRow.repository_id == row.id)
            return set(session.exec(query))

    def stored(self, *names: str) -> set[str]:
        """Those of the blobs that lie in the storage."""
        return {name for name in names if self.storage.blob(blob(name)) is not None}

    def faults(self) -> list[str]:
        """What is wrong: empty when whatever the index promises can be pulled."""
        with self.store.read() as session:
            known = _Known.read(session)
        return [*_dangling(known), *_blob_faults(known, self.storage), *_lost(known, self.storage)]


@dataclass
class ServedShelf(Shelf):
    """The same with a running Distribution on the storage: all that it does, it does itself."""

    client: RegistryClient = field(kw_only=True)

    def send(self, repository: str, *names: str) -> None:
        for name in names:
            self.client.upload_blob(repository, name.encode(), blob(name))

    def has(self, repository: str, digest: str) -> bool:
        return self.client.blob_exists(repository, digest)

    def put(self, repository: str, parsed: ParsedManifest, tags: Sequence[str] = ()) -> None:
        places = [ImageReference(repository, digest=parsed.digest)]
        places += [ImageReference(repository, tag=tag) for tag in tags]
        for place in places:
            self.client.put_manifest(place, parsed.data, parsed.media_type)


@dataclass(frozen=True)
class _Known:
    """The whole index."""

    names: dict[int, str]
    blobs: dict[str, str]
    members: set[tuple[int, str]]
    manifests: set[tuple[int, str]]
    references: list[ManifestBlobRow]
    children: list[ManifestChildRow]
    tags: list[TagRow]

    @classmethod
    def read(cls, session: Session) -> "_Known":
        manifests = select(ManifestRow.repository_id, ManifestRow.digest)
        members = select(RepositoryBlobRow.repository_id, RepositoryBlobRow.digest)
        return cls(
            {row.id or 0: row.name for row in session.exec(select(RepositoryRow))},
            {row.digest: row.state for row in session.exec(select(BlobRow))},
            {(number, digest) for number, digest in session.exec(members)},
            {(number, digest) for number, digest in session.exec(manifests)},
            list(session.exec(select(ManifestBlobRow))),
            list(session.exec(select(ManifestChildRow))),
            list(session.exec(select(TagRow).where(col(TagRow.ended_at).is_(None)))),
        )


def _dangling(known: _Known) -> Iterator[str]:
    for row in known.references:
        if (row.repository_id, row.blob) not in known.members:
            yield f"{row.manifest} refers to {row.blob}, which does not belong"
    for child in known.children:
        if (child.repository_id, child.child) not in known.manifests:
            yield f"{child.parent} lacks its manifest {child.child}"
    for tag in known.tags:
        if (tag.repository_id, tag.digest) not in known.manifests:
            yield f"tag {tag.name} means {tag.digest}, which is gone"


def _blob_faults(known: _Known, storage: RegistryStorage) -> Iterator[str]:
    for number, digest in known.members:
        state = known.blobs.get(digest, "unknown")
        if state != registry_blobs.LIVE:
            yield f"{digest} belongs but is {state}"
        if storage.blob(digest) is None:
            yield f"{digest} belongs but has no bytes"
        if not storage.has_layer(known.names[number], digest):
            yield f"{digest} belongs to {known.names[number]} but has no link there"


def _lost(known: _Known, storage: RegistryStorage) -> Iterator[str]:
    for number, digest in known.manifests:
        if storage.revision(known.names[number], digest) is None:
            yield f"Distribution lost manifest {digest} of {known.names[number]}"
        if storage.blob(digest) is None:
            yield f"Distribution lost the bytes of manifest {digest}"


@contextmanager
def shelf(
    database_url: str, folder: Path, *, delay: timedelta = NO_TIME, lease: timedelta = NO_TIME
) -> Iterator[Shelf]:
    """Index and storage, empty unless they were there before; the schema is there."""
    store = Store.open(database_url, delay)
    try:
        yield Shelf(store, RegistryStorage(FolderTree(folder)), folder, lease)
    finally:
        store.engine.dispose()


def grow_old(path: Path, hours: float) -> None:
    """Let a file look as if it was last written some hours ago."""
    then = now().timestamp() - hours * 3600
    os.utime(path, (then, then))

"""Scrub: read blobs again and see whether they still are what their digests say."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.errors import FleetwideError
from fleetwide.models.registry_gc import ScrubBatch, ScrubDone, ScrubReport
from fleetwide.providers.registry_replicas import BlobSource, NoReplicas
from fleetwide.providers.registry_storage import RegistryStorage, hash_blob
from fleetwide.store import registry_views
from fleetwide.store.registry_blobs import BROKEN
from fleetwide.store.registry_views import IndexedBlob
from fleetwide.store.session import Store

PAGE = 100


class Repairs:
    """What becomes of a blob whose bytes are missing or wrong."""

    def __init__(self, store: Store, storage: RegistryStorage, source: BlobSource) -> None:
        self.store = store
        self.storage = storage
        self.source = source

    def broken(self, digest: str, why: str) -> bool | None:
        """Note that a blob is broken, and fetch it again where a replica has it; whether one had.

        None when garbage collection has taken it. Wrong bytes are set aside: as long as they lie
        there, no upload could replace them.
        """
        with self.store.write() as session:
            if not registry_views.mark_broken(session, digest, why, now=datetime.now(UTC)):
                return None
            names = registry_views.owners(session, digest)
        self.storage.set_aside(digest)
        return any(self._fetched(name, digest) for name in names)

    def _fetched(self, repository: str, digest: str) -> bool:
        try:
            chunks = self.source.fetch(repository, digest)
            if chunks is None or not self.storage.put_blob(digest, chunks):
                return False
        except FleetwideError as error:
            activity.logger.warning("a replica did not give %s: %s", digest, error)
            return False
        return self.right(digest, "fetched again from a replica")

    def right(self, digest: str, why: str) -> bool:
        """Note that the bytes are right; whether it had been broken."""
        with self.store.write() as session:
            return registry_views.heal(session, digest, why, now=datetime.now(UTC))


class ScrubActivities:
    """Storage side: needs the database and Distribution's storage."""

    def __init__(
        self, store: Store, storage: RegistryStorage, source: BlobSource | None = None
    ) -> None:
        self.store = store
        self.storage = storage
        self.repairs = Repairs(store, storage, source or NoReplicas())

    @activity.defn(name="registry.scrub_blobs")
    def scrub_blobs(self, batch: ScrubBatch) -> ScrubDone:
        """Read blobs for some seconds, no faster than allowed; one that was begun is ended."""
        deadline = time.monotonic() + batch.seconds
        report, cursor = ScrubReport(), batch.after
        while True:
            with self.store.read() as session:
                page = registry_views.blobs_after(session, cursor, PAGE)
            if not page:
                return ScrubDone(report=report, cursor=None)
            for blob in page:
                report = report.plus(self._scrub(blob, batch.bytes_per_second))
                cursor = blob.digest
                if time.monotonic() > deadline:
                    return ScrubDone(report=report, cursor=cursor)

    def _scrub(self, blob: IndexedBlob, bytes_per_second: float) -> ScrubReport:
        def told(size: int) -> None:
            heartbeat(f"reading {blob.digest}", size / max(blob.size, 1))

        found, size = self._read(blob.digest, bytes_per_second, told)
        if found == blob.digest:
            healed = blob.state == BROKEN and self.repairs.right(blob.digest, "read again")
            return ScrubReport(blobs=1, bytes=size, healed=int(healed))
        # Once more before it is believed: it may have been removed or replaced meanwhile.
        again, more = self._read(blob.digest, bytes_per_second, told)
        if again == blob.digest:
            return ScrubReport(blobs=1, bytes=size + more)
        why = "its bytes are missing" if again is None else f"its bytes are those of {again}"
        fetched = self.repairs.broken(blob.digest, why)
        report = ScrubReport(blobs=1, bytes=size + more)
        if fetched is None:
            return report
        told_of = ScrubReport(broken=[blob.digest], broken_count=1, fetched=int(fetched))
        return report.plus(told_of)

    def _read(
        self, digest: str, bytes_per_second: float, told: Callable[[int], None]
    ) -> tuple[str | None, int]:
        """The digest of what lies there, None for nothing, and how many bytes."""
        chunks = self.storage.read_blob(digest)
        if chunks is None:
            told(0)
            return None, 0
        read = 0

        def count(size: int) -> None:
            nonlocal read
            read = size
            told(size)

        return hash_blob(chunks, bytes_per_second, count), read

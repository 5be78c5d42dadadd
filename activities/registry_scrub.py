"""Scrub: read blobs and manifests again and see whether they still are what their digests say."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from sqlmodel import Session
from temporalio import activity

from activities.progress import heartbeat
from activities.registry_repairs import Repairs
from activities.registry_scrub_manifests import ManifestScrub
from fleetwide.models.registry_gc import ScrubBatch, ScrubDone, ScrubReport
from fleetwide.providers.registry_replicas import BlobSource, NoReplicas
from fleetwide.providers.registry_storage import RegistryStorage, hash_blob
from fleetwide.providers.registry_trees import Entry
from fleetwide.store import registry_manifest_copies, registry_views
from fleetwide.store.registry_blobs import BROKEN
from fleetwide.store.registry_views import IndexedBlob
from fleetwide.store.session import Store

PAGE = 100
Found = TypeVar("Found")
LONGEST_SECONDS = 6 * 3600.0
"""A reading has to end within its activity, and one that finds wrong bytes is done twice."""
MANIFESTS = "manifests:"
"""Before a cursor that stands among the manifests, which come behind all blobs."""

Work = Callable[[], ScrubReport]


class ScrubActivities:
    """Storage side: needs the database and Distribution's storage."""

    def __init__(
        self, store: Store, storage: RegistryStorage, source: BlobSource | None = None
    ) -> None:
        self.store = store
        self.storage = storage
        self.repairs = Repairs(store, storage, source or NoReplicas())
        self.manifests = ManifestScrub(store, storage)

    @activity.defn(name="registry.scrub_blobs")
    def scrub_blobs(self, batch: ScrubBatch) -> ScrubDone:
        """Read for some seconds, no faster than allowed; what was begun is ended.

        A blob that would take more than six hours is read faster, and counted as such.
        """
        deadline, report = time.monotonic() + batch.seconds, ScrubReport()
        for cursor, work in self._from(batch.after, batch.bytes_per_second):
            report = report.plus(work())
            if time.monotonic() > deadline:
                return ScrubDone(report=report, cursor=cursor)
        return ScrubDone(report=report, cursor=None)

    def _from(self, after: str, rate: float) -> Iterator[tuple[str, Work]]:
        """What is to be read behind ``after``, each with where to go on behind it."""
        if not after.startswith(MANIFESTS):
            for blob in self._all(registry_views.blobs_after, lambda blob: blob.digest, after):
                yield blob.digest, partial(self._scrub, blob, rate)
            after = MANIFESTS
        digests, behind = registry_manifest_copies.digests_after, after.removeprefix(MANIFESTS)
        for digest in self._all(digests, str, behind):
            yield MANIFESTS + digest, partial(self.manifests.scrub, digest, rate)

    def _all(
        self,
        page: Callable[[Session, str, int], list[Found]],
        key: Callable[[Found], str],
        after: str,
    ) -> Iterator[Found]:
        """What a listing of the index gives behind ``after``, page by page."""
        while True:
            with self.store.read() as session:
                found = page(session, after, PAGE)
            if not found:
                return
            yield from found
            after = key(found[-1])

    def _scrub(self, blob: IndexedBlob, allowed: float) -> ScrubReport:
        rate = max(allowed, blob.size / LONGEST_SECONDS)
        hurried = int(rate > allowed)
        pace = f" at {rate / 1024**2:.1f} MiB/s" if hurried else ""

        def told(size: int) -> None:
            heartbeat(f"reading {blob.digest}{pace}", size / max(blob.size, 1))

        found, size, _ = self._read(blob.digest, rate, told)
        report = ScrubReport(blobs=1, bytes=size, hurried=hurried)
        if found == blob.digest:
            healed = blob.state == BROKEN and self.repairs.right(blob.digest, "read again")
            return report.plus(ScrubReport(healed=int(healed)))
        # Once more before it is believed: it may have been removed or replaced meanwhile.
        again, size, seen = self._read(blob.digest, rate, told)
        report = report.plus(ScrubReport(bytes=size))
        if again == blob.digest:
            return report
        why = "its bytes are missing" if again is None else f"its bytes are those of {again}"
        fetched = self.repairs.broken(blob.digest, why, seen)
        if fetched is None:
            return report
        told_of = ScrubReport(broken=[blob.digest], broken_count=1, fetched=int(fetched))
        return report.plus(told_of)

    def _read(
        self, digest: str, rate: float, told: Callable[[int], None]
    ) -> tuple[str | None, int, Entry | None]:
        """The digest of what lies there, None for nothing; how many bytes; and how it lay there."""
        seen = self.storage.blob(digest)
        chunks = self.storage.read_blob(digest) if seen is not None else None
        if chunks is None:
            told(0)
            return None, 0, None
        read = 0

        def count(size: int) -> None:
            nonlocal read
            read = size
            told(size)

        return hash_blob(chunks, rate, count), read, seen

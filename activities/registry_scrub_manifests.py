"""Scrub of manifests: the index has their bytes and so has Distribution; the right ones mend."""

from collections.abc import Mapping
from datetime import UTC, datetime

from activities.progress import heartbeat
from fleetwide.models.registry_gc import ScrubReport
from fleetwide.providers.registry_storage import RegistryStorage, hash_blob
from fleetwide.registry.digests import digest_of
from fleetwide.registry.manifests import MAX_MANIFEST
from fleetwide.store import registry_manifest_copies as copies
from fleetwide.store.session import Store


class ManifestScrub:
    """One digest after the other, in all repositories that have it."""

    def __init__(self, store: Store, storage: RegistryStorage) -> None:
        self.store = store
        self.storage = storage

    def scrub(self, digest: str, bytes_per_second: float) -> ScrubReport:
        """Compare both sides with the digest; what is wrong is mended by what is right."""
        with self.store.read() as session:
            indexed = copies.of(session, digest)
        stored = self._stored(digest, bytes_per_second)
        size = sum(map(len, indexed.values())) + len(stored or b"")
        report = ScrubReport(manifests=1, bytes=size)
        right = next((data for data in indexed.values() if digest_of(data) == digest), stored)
        if right is None:
            return report.plus(self._lost(digest))
        mended = self._mend_index(digest, right, indexed)
        if stored is None:
            mended += self._mend_storage(digest, right)
        return report.plus(ScrubReport(mended=mended))

    def _stored(self, digest: str, bytes_per_second: float) -> bytes | None:
        """What Distribution has, if it is what the digest says."""
        heartbeat(f"reading manifest {digest}", None)
        entry, chunks = self.storage.blob(digest), self.storage.read_blob(digest)
        if entry is None or chunks is None or entry.size > MAX_MANIFEST:
            return None
        data = b"".join(chunks)
        found = hash_blob([data], bytes_per_second, lambda _: heartbeat(f"read {digest}", None))
        return data if found == digest else None

    def _mend_index(self, digest: str, right: bytes, indexed: Mapping[int, bytes]) -> int:
        wrong = sorted(number for number, data in indexed.items() if data != right)
        with self.store.write() as session:
            return copies.mend(session, digest, right, wrong, now=datetime.now(UTC))

    def _mend_storage(self, digest: str, right: bytes) -> int:
        with self.store.write() as session:
            # Garbage collection removes the bytes only after it has taken the last row.
            if not copies.hold(session, digest) or self._stored(digest, 1e12) is not None:
                return 0
            self.storage.put_blob(digest, [right])
            copies.told_of(session, digest, "Distribution has its bytes again", datetime.now(UTC))
        return 1

    def _lost(self, digest: str) -> ScrubReport:
        with self.store.write() as session:
            if not copies.mark_broken(session, digest, now=datetime.now(UTC)):
                return ScrubReport()
        return ScrubReport(broken=[digest], broken_count=1)

"""Pulls, counted in memory and written down in batches: no pull waits for a write."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from fleetwide.store import registry_pulls
from fleetwide.store.session import Store

FLUSH_SECONDS = 10.0
MAX_WAITING = 10_000
"""Manifests; while the index is down, pulls of further ones are not counted."""

log = structlog.get_logger()


class PullCounter:
    """Counts of this process that are not written yet; of one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: Counter[tuple[int, str]] = Counter()

    def note(self, repository_id: int, digest: str) -> None:
        key = (repository_id, digest)
        if key in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[key] += 1

    async def run(self) -> None:
        """Write what was counted, again and again, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; what cannot be written is kept for the next time."""
        if not self._waiting:
            return
        counts, self._waiting = self._waiting, Counter()
        try:
            await asyncio.to_thread(self._write, counts)
        except Exception as error:
            log.warning("pulls could not be written down", error=type(error).__name__)
            self._waiting.update(counts)

    def _write(self, counts: Mapping[tuple[int, str], int]) -> None:
        with self._store.write() as session:
            registry_pulls.note(session, counts, datetime.now(UTC))

"""Pulls, counted in memory and written down in batches: no pull waits for a write."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import structlog

from fleetwide.models.registry_access import ANONYMOUS
from fleetwide.store import registry_pulls
from fleetwide.store.session import Store

FLUSH_SECONDS = 10.0
MAX_WAITING = 20_000
"""Pairs of an image and a caller; while the index is down, pulls of further ones do not count."""
BATCH = 500
"""Of one transaction: SQLite lets nobody else write meanwhile."""

log = structlog.get_logger()


class PullCounter:
    """Counts of this process that are not written yet; of one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: Counter[tuple[int, str, str]] = Counter()
        self._flushing = asyncio.Lock()

    def note(self, repository_id: int, digest: str, by: str, *, whole: bool = True) -> None:
        """Count a pull by the account ``by``, which is empty where nobody is asked for one.

        Who is told what an image is, but gets no bytes since he has them (not ``whole``), uses it
        all the same: it counts as no pull, but moves the time of the last one.
        """
        key = (repository_id, digest, by or ANONYMOUS)
        if key in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[key] += 1 if whole else 0

    async def run(self) -> None:
        """Write what was counted, again and again, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def close(self) -> None:
        """Write all that was counted, also what comes meanwhile, unless the index does not take it.

        Whoever runs ``run`` has cancelled it before.
        """
        while await self.flush() and self._waiting:
            pass

    async def flush(self) -> bool:
        """Write what was counted; what cannot be written is kept for the next time (False).

        It goes on when its caller is cancelled: a batch half-way would be lost or counted twice.
        """
        return await asyncio.shield(self._flush())

    async def _flush(self) -> bool:
        async with self._flushing:
            counted, self._waiting = self._waiting, Counter()
            left = sorted(counted)
            try:
                while left:
                    batch = {key: counted[key] for key in left[:BATCH]}
                    await asyncio.to_thread(self._write, batch)
                    del left[:BATCH]
            except Exception as error:
                log.warning("pulls could not be written down", error=type(error).__name__)
                self._waiting.update({key: counted[key] for key in left})
            return not left

    def _write(self, counts: registry_pulls.Pulls) -> None:
        with self._store.write() as session:
            registry_pulls.note(session, counts, datetime.now(UTC))

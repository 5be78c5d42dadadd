"""The scheduler's turn that moves what finished long ago to the archive."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from fleetwide.store import archive
from fleetwide.store.session import Store

JOBS_AT_ONCE = 100
TURN_SECONDS = 45.0

log = structlog.get_logger()


class Archiver:
    """Moves jobs in batches of small transactions; each may be the last one before a kill."""

    def __init__(self, store: Store, keep: timedelta) -> None:
        self.store = store
        self.keep = keep
        self._ends = 0.0
        """When the turn ends, by ``monotonic``."""

    async def turn(self) -> None:
        """Move what is due, for so many seconds; beside the loops that must not wait."""
        self._ends = monotonic() + TURN_SECONDS
        try:
            moved = await asyncio.to_thread(self.move_due, datetime.now(UTC), self._is_over)
        finally:
            self._ends = 0.0  # a thread is not cancelled: it is told
        if moved:
            log.info("moved finished jobs to the archive", jobs=moved)

    def _is_over(self) -> bool:
        return monotonic() >= self._ends

    def move_due(self, now: datetime, is_over: Callable[[], bool] = lambda: False) -> int:
        """Move batches until none is due or the turn is over; how many jobs were moved."""
        moved = 0
        while not is_over():
            with self.store.read() as session:
                ids = archive.due(session, finished_before=now - self.keep, limit=JOBS_AT_ONCE)
            if not ids:
                break
            self._move(ids, now)
            moved += len(ids)
        return moved

    def _move(self, ids: list[int], now: datetime) -> None:
        while self._copied(ids):
            pass
        with self.store.write() as session:
            archive.copy_jobs(session, ids, now=now)
        while self._dropped(ids):
            pass
        with self.store.write() as session:
            archive.drop_jobs(session, ids)

    def _copied(self, ids: list[int]) -> int:
        with self.store.write() as session:
            return archive.copy_attempts(session, ids)

    def _dropped(self, ids: list[int]) -> int:
        with self.store.write() as session:
            return archive.drop_attempts(session, ids)

"""The scheduler's turn that forgets events and archived jobs which are old enough."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Self

import structlog

from fleetwide.settings import Settings
from fleetwide.store import pruning
from fleetwide.store.session import Store

TURN_SECONDS = 20.0

log = structlog.get_logger()


class Pruner:
    """Deletes in batches of small transactions; each may be the last one before a kill.

    ``None`` keeps for ever.
    """

    def __init__(
        self, store: Store, events: timedelta | None = None, archive: timedelta | None = None
    ) -> None:
        self._store = store
        self._events = events
        self._archive = archive
        self._ends = 0.0
        """When the turn ends, by ``monotonic``."""

    @classmethod
    def from_settings(cls, settings: Settings, store: Store) -> Self:
        return cls(store, _days(settings.event_keep_days), _days(settings.archive_keep_days))

    async def turn(self) -> None:
        """Forget what is due, for so many seconds; beside the loops that must not wait."""
        self._ends = monotonic() + TURN_SECONDS
        try:
            told, jobs = await asyncio.to_thread(self.prune, datetime.now(UTC), self._is_over)
        finally:
            self._ends = 0.0  # a thread is not cancelled: it is told
        if told or jobs:
            log.info("forgot what is old", events=told, jobs=jobs)

    def _is_over(self) -> bool:
        return monotonic() >= self._ends

    def prune(self, now: datetime, is_over: Callable[[], bool] = lambda: False) -> tuple[int, int]:
        """Forget batches until none is due or the turn is over; how many events and jobs."""
        events = jobs = 0
        while self._events is not None and not is_over():
            with self._store.write() as session:
                batch = pruning.prune_events(session, before=now - self._events, now=now)
            events += batch
            if not batch:
                break
        while self._archive is not None and not is_over():
            with self._store.read() as session:
                ids = pruning.due_jobs(session, archived_before=now - self._archive)
            if not ids or not self._forget(ids, is_over):
                break
            jobs += len(ids)
        return events, jobs

    def _forget(self, job_ids: Sequence[int], is_over: Callable[[], bool]) -> bool:
        """Forget these jobs, their record last; False when the turn was over before."""
        for drop in (pruning.drop_attempts, pruning.drop_events):
            while True:
                with self._store.write() as session:
                    dropped = drop(session, job_ids)
                if not dropped:
                    break
                if is_over():
                    return False
        with self._store.write() as session:
            pruning.drop_jobs(session, job_ids)
        return True


def _days(number: float) -> timedelta | None:
    return timedelta(days=number) if number else None

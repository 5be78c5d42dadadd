"""The attempts without a host, kept from one tick to the next: only new ones are read.

There may be any number of them. The oldest are looked at in each tick; of those behind, some more,
others each second: so that no number of tasks that fit nowhere keeps a later one from its host.
Those of groups that come before others, or may have others leave, are looked at wherever they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import process_time
from typing import Any

from sqlalchemy import Select
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from fleetwide.containers.placement import Request
from fleetwide.intervals import is_over
from fleetwide.models.task_states import TaskState
from fleetwide.store.among import among
from fleetwide.store.job_shapes import JobShape, JobShapes
from fleetwide.store.tables import AttemptRow, JobRow

BAND_SECONDS = 5
"""Of the attempts that came within so many seconds the largest is placed first."""
OLDEST = 5_000
BEHIND = 2_500
TURN_AFTER = timedelta(seconds=1)
AHEAD = 2_500
REST = 20.0
"""Looking for those takes long where very many wait: it is followed by a pause of so many times."""
IDS_AT_ONCE = 500
_IDS = (
    select_columns(col(AttemptRow.id))
    .where(col(AttemptRow.state) == TaskState.ACCEPTED)
    .order_by(col(AttemptRow.id))
)
_AHEAD = (
    select_columns(col(AttemptRow.id))
    .join(JobRow, col(JobRow.id) == col(AttemptRow.job_id))
    .where(col(AttemptRow.state) == TaskState.ACCEPTED)
    .order_by(col(JobRow.priority).desc(), col(AttemptRow.id))
)
_COLUMNS = select_columns(
    col(AttemptRow.id),
    col(AttemptRow.job_id),
    col(AttemptRow.index),
    col(AttemptRow.attempt),
    col(AttemptRow.avoid_hosts),
    col(AttemptRow.accepted_at),
)


@dataclass(frozen=True, slots=True)
class Pending:
    """One attempt without a host."""

    request: Request
    workflow_id: str
    child: int
    """Its index in the array."""
    attempt: int
    accepted_at: datetime


class Queue:
    """Attempts without a host, in the order in which they came."""

    def __init__(self, shapes: JobShapes) -> None:
        self.entries: dict[int, Pending] = {}
        self.groups_ahead: frozenset[str] = frozenset()
        """Capacity groups whose attempts are looked at wherever they stand."""
        self._shapes = shapes
        self._ahead: list[int] = []
        self._ahead_again: datetime | None = None
        self._behind: list[int] = []
        self._last = 0
        """Number of the last one behind that was looked at; 0 when there were no more."""
        self._turned: datetime | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(each.request for each in self.entries.values())

    @property
    def images(self) -> frozenset[str]:
        """The digests of the images that they want."""
        return frozenset(each.request.shape.image for each in self.entries.values()) - {""}

    def refresh(self, session: Session, *, now: datetime) -> bool:
        """Read what is new, drop what is gone; whether anything was."""
        ids = self._ids(session, now)
        known = self.entries
        new = [each for each in ids if each not in known]
        if not new and len(ids) == len(known):
            return False
        read = self._read(session, new)
        self.entries = {
            each: known.get(each) or read[each] for each in ids if each in known or each in read
        }
        return True

    def _ids(self, session: Session, now: datetime) -> list[int]:
        oldest = _numbers(session, _IDS.limit(OLDEST))
        if len(oldest) < OLDEST:
            self._behind, self._ahead, self._ahead_again = [], [], None
            return oldest
        if is_over(self._turned, TURN_AFTER, now):
            self._turned = now
            after = max(self._last, oldest[-1])
            more = _IDS.where(col(AttemptRow.id) > after).limit(BEHIND)
            self._behind = _numbers(session, more)
            self._last = self._behind[-1] if len(self._behind) == BEHIND else 0
        elif self._behind:
            still = _IDS.where(col(AttemptRow.id).between(self._behind[0], self._behind[-1]))
            there = set(_numbers(session, still.limit(BEHIND)))
            self._behind = [each for each in self._behind if each in there]
        ahead = self._ids_ahead(session, now)
        return sorted({*oldest, *(each for each in self._behind if each > oldest[-1]), *ahead})

    def _ids_ahead(self, session: Session, now: datetime) -> list[int]:
        """Of the groups that come first: those of the highest priority, and of these the oldest."""
        if self._ahead_again is None or now >= self._ahead_again:
            began = process_time()
            own = col(JobRow.capacity_group).in_(sorted(self.groups_ahead))
            query = _AHEAD.where(own).limit(AHEAD)
            self._ahead = _numbers(session, query) if self.groups_ahead else []
            pause = timedelta(seconds=(process_time() - began) * REST)
            self._ahead_again = now + max(TURN_AFTER, pause)
            return self._ahead
        parts = (self._ahead[n : n + IDS_AT_ONCE] for n in range(0, len(self._ahead), IDS_AT_ONCE))
        still = (_IDS.where(among(session, col(AttemptRow.id), part)) for part in parts)
        self._ahead = [each for query in still for each in _numbers(session, query)]
        return self._ahead

    def _read(self, session: Session, ids: list[int]) -> dict[int, Pending]:
        rows: list[tuple[Any, ...]] = []
        for first in range(0, len(ids), IDS_AT_ONCE):
            part = ids[first : first + IDS_AT_ONCE]
            some = _COLUMNS.where(among(session, col(AttemptRow.id), part))
            rows += [tuple(row) for row in session.connection().execute(some)]
        jobs = self._shapes.of(session, {job_id for _, job_id, *_ in rows})
        return {
            number: Pending(
                _request(number, avoid_hosts, accepted_at, jobs[job_id]),
                jobs[job_id].name,
                child,
                attempt,
                accepted_at,
            )
            for number, job_id, child, attempt, avoid_hosts, accepted_at in rows
        }


def _numbers(session: Session, query: Select[Any]) -> list[int]:
    return list(session.connection().execute(query).scalars())


def _request(
    attempt_id: int, avoid_hosts: Sequence[str], accepted_at: datetime, job: JobShape
) -> Request:
    shape = job.shape
    if avoid_hosts:
        shape = replace(shape, avoid_hosts=frozenset(avoid_hosts))
    band = int(accepted_at.timestamp()) // BAND_SECONDS
    return Request(
        attempt_id, shape, job=job.name, group=job.group, priority=job.priority, rank=band
    )

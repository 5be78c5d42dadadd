"""Places that were lent and are taken back: who was told, and who runs where.

An attempt that has to leave is marked in its row first; it is asked to end when its notice is over.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, update
from sqlalchemy import select as select_columns
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from fleetwide.containers.placement import Amounts, RunningTask
from fleetwide.models.task_states import TaskState
from fleetwide.store import disruptions, events
from fleetwide.store.among import among
from fleetwide.store.capacity_groups import HELD
from fleetwide.store.tables import AttemptRow, JobRow

KIND = "preemption"
ENDS = (TaskState.KILL_INITIATED, TaskState.FINISHED)
_needing = aliased(AttemptRow)
_MARKED = (
    select_columns(
        col(AttemptRow.id),
        col(AttemptRow.host_id),
        col(AttemptRow.state),
        col(AttemptRow.preempt_at),
        col(AttemptRow.preempt_for),
        col(JobRow.capacity_group),
        col(_needing.state),
    )
    .join(JobRow, col(JobRow.id) == col(AttemptRow.job_id))
    .outerjoin(_needing, col(_needing.id) == col(AttemptRow.preempt_for))
    .where(col(AttemptRow.preempt_at).is_not(None), col(AttemptRow.reserved).is_(True))
    .order_by(col(AttemptRow.id))
)
# A host that is silent hears nothing: what runs there is left alone.
_RUNNING = (
    select_columns(
        col(AttemptRow.id),
        col(AttemptRow.host_id),
        col(AttemptRow.state),
        col(AttemptRow.launched_at),
        col(JobRow.capacity_group),
        col(JobRow.priority),
        *HELD,
    )
    .join(JobRow, col(JobRow.id) == col(AttemptRow.job_id))
    .where(col(AttemptRow.reserved).is_(True), col(AttemptRow.state) != TaskState.DISCONNECTED)
)


@dataclass(frozen=True)
class Marked:
    """An attempt that was told that it has to leave."""

    attempt_id: int
    host_id: str
    ends: bool
    """It is being stopped already."""
    at: datetime
    """Until then it may stay."""
    needed_by: int
    """The attempt that needs its place."""
    group: str
    still_waits: bool
    """Whether that one has no host yet."""


@dataclass(frozen=True)
class Need:
    """Who needs the place of others."""

    attempt_id: int
    workflow_id: str
    group: str

    def sentence(self, host_id: str) -> str:
        """For those who have to leave."""
        return (
            f"its place on {host_id} was lent and is taken back: {self.workflow_id} of capacity "
            f"group {self.group} needs it"
        )


def marked(session: Session) -> dict[int, Marked]:
    """All that were told, by number of the attempt."""
    rows = _rows(session, _MARKED)
    return {
        number: Marked(
            number, host_id, state in ENDS, at, needed_by, group, waits == TaskState.ACCEPTED
        )
        for number, host_id, state, at, needed_by, group, waits in rows
    }


def running(
    session: Session, announced: Collection[int], leaving: Collection[int]
) -> list[RunningTask]:
    """All attempts that have a host; their names are the attempts' numbers."""
    known: dict[tuple[int, ...], Amounts] = {}
    found = []
    rows = _rows(session, _RUNNING)
    for number, host_id, state, since, group, priority, *held in rows:
        key = tuple(held)
        amounts = known.get(key)
        if amounts is None:
            amounts = known[key] = Amounts(*key)
        found.append(
            RunningTask(
                str(number),
                host_id,
                amounts,
                group,
                since.timestamp() if since else 0.0,
                leaving=state in ENDS or number in leaving,
                priority=priority,
                announced=number in announced,
            )
        )
    return found


def announce(
    session: Session, asked: Iterable[int], need: Need, *, at: datetime, now: datetime
) -> None:
    """Mark attempts that have to leave then; each hears it as an event of its workflow."""
    rows = _told(session, asked)
    for number, (workflow_id, index, attempt, host_id) in rows.items():
        statement = update(AttemptRow).where(col(AttemptRow.id) == number)
        values = {"preempt_at": at, "preempt_for": need.attempt_id}
        session.connection().execute(statement.values(values))
        data: dict[str, Any] = {"index": index, "attempt": attempt, "host": host_id}
        data |= {"at": at.isoformat(), "neededBy": need.workflow_id, "group": need.group}
        message = (
            f"preemption announced: {_which(workflow_id, index, attempt)} has to leave by "
            f"{at:%Y-%m-%d %H:%M:%S} UTC; {need.sentence(host_id)}"
        )
        events.append(session, workflow_id, KIND, message, at=now, data=data)


def call_off(session: Session, dropped: Mapping[int, str], *, now: datetime) -> None:
    """They may stay, and why; what they cost their budgets is given back."""
    rows = _told(session, dropped)
    statement = update(AttemptRow).where(among(session, col(AttemptRow.id), sorted(rows)))
    session.connection().execute(statement.values(preempt_at=None, preempt_for=None))
    disruptions.give_back(session, rows, now=now)
    for number, (workflow_id, index, attempt, host_id) in rows.items():
        which = _which(workflow_id, index, attempt)
        message = f"preemption called off: {which} stays on {host_id}, {dropped[number]}"
        data = {"index": index, "attempt": attempt, "host": host_id}
        events.append(session, workflow_id, f"{KIND}CalledOff", message, at=now, data=data)


def _told(session: Session, numbers: Iterable[int]) -> dict[int, tuple[str, int, int, str]]:
    """Workflow, index, attempt and host of those that are not being stopped yet."""
    query = (
        select_columns(
            col(AttemptRow.id),
            col(JobRow.workflow_id),
            col(AttemptRow.index),
            col(AttemptRow.attempt),
            col(AttemptRow.host_id),
        )
        .join(JobRow, col(JobRow.id) == col(AttemptRow.job_id))
        .where(
            among(session, col(AttemptRow.id), sorted(numbers)),
            col(AttemptRow.reserved).is_(True),
            col(AttemptRow.state).not_in(ENDS),
        )
        .order_by(col(AttemptRow.id))
    )
    rows = _rows(session, query)
    return {number: (name, index, attempt, host) for number, name, index, attempt, host in rows}


def _rows(session: Session, query: Executable) -> Iterator[Any]:
    """Of attempts that have a host: it, and the times of marks, are never missing."""
    return iter(session.connection().execute(query))


def _which(workflow_id: str, index: int, attempt: int) -> str:
    child = f"[{index}] " if workflow_id.startswith("batch/") else ""
    return f"{child}attempt {attempt}"

"""The one place where attempts change their state: by compare-and-set, one event for each change.

An attempt's ``version`` is raised by every change; a writer that looked at an older one looks
again. Events of changes have the kind ``state``; their numbers are the cursor of every stream.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from fleetwide.containers.transitions import Step, steps
from fleetwide.models.task_states import TaskState
from fleetwide.store import events
from fleetwide.store.tables import AttemptRow, JobRow

KIND = "state"


class Outcome(StrEnum):
    """What became of an update."""

    MOVED = "moved"
    SAME = "same"
    """It was in that state already."""
    DROPPED = "dropped"
    """It would have gone backwards: nothing was changed."""


@dataclass(frozen=True)
class Change:
    """An update of one attempt; ``values`` are further columns that are written with it."""

    to: TaskState
    at: datetime
    reason: str | None = None
    message: str = ""
    started_at: datetime | None = None
    """When the container started, where that is known."""
    exit_code: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def move(session: Session, workflow_id: str, row: AttemptRow, change: Change) -> Outcome:
    """Bring the attempt to another state; ``row`` is as it stands in the database afterwards."""
    while True:
        state, left = TaskState(row.state), _left(row)
        ran = change.started_at is not None or row.started_at is not None
        way = steps(state, left, change.to, ran=ran)
        if not way:
            return Outcome.DROPPED if way is None else Outcome.SAME
        if _compare_and_set(session, row, change):
            _tell(session, workflow_id, row, way, change)
            session.refresh(row)
            return Outcome.MOVED
        session.refresh(row)


def _left(row: AttemptRow) -> TaskState | None:
    return TaskState(row.left_state) if row.left_state else None


def _compare_and_set(session: Session, row: AttemptRow, change: Change) -> bool:
    values = {**change.values, "state": change.to, "version": row.version + 1, "left_state": None}
    if change.to is TaskState.DISCONNECTED:
        values["left_state"] = row.state
    if change.started_at is not None and row.started_at is None:
        values["started_at"] = change.started_at
    where = (col(AttemptRow.id) == row.id, col(AttemptRow.version) == row.version)
    statement = update(AttemptRow).where(*where).values(values)
    return bool(session.connection().execute(statement).rowcount)


def _tell(
    session: Session, workflow_id: str, row: AttemptRow, way: Iterable[Step], change: Change
) -> None:
    host = change.values.get("host_id", row.host_id)
    events.append_all(
        session,
        [
            event(
                workflow_id,
                (row.index, row.attempt),
                step.state,
                at=(change.started_at if step.state is TaskState.STARTED else None) or change.at,
                host=host,
                reason=FILLED_IN if step.filled_in else change.reason,
                message="" if step.filled_in else change.message,
                exit_code=None if step.filled_in else change.exit_code,
            )
            for step in way
        ],
    )


FILLED_IN = "filledIn"
"""Reason of a state that nobody told of at the time."""


def event(  # noqa: PLR0913 - the columns of an event and what it tells
    workflow_id: str,
    attempt: tuple[int, int],
    state: TaskState,
    *,
    at: datetime,
    host: str | None = None,
    reason: str | None = None,
    message: str = "",
    exit_code: int | None = None,
) -> dict[str, Any]:
    """The event of one change, for ``events.append_all``; ``attempt`` is (index, number)."""
    index, number = attempt
    child = f"[{index}] " if workflow_id.startswith("batch/") else ""
    where = f" on {host}" if host else ""
    why = f": {reason}" if reason else ""
    more = f", {message}" if message else ""
    known = {"host": host, "reason": reason, "exitCode": exit_code}
    data: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    data |= {"state": state, "index": index, "attempt": number}
    return events.values(
        workflow_id,
        KIND,
        f"{child}attempt {number} is {state}{where}{why}{more}",
        at=at,
        data=data,
    )


def accepted(session: Session, job: JobRow, rows: Iterable[AttemptRow]) -> None:
    """Tell of attempts that have just been inserted."""
    events.append_all(
        session,
        [
            event(job.workflow_id, (row.index, row.attempt), TaskState.ACCEPTED, at=row.accepted_at)
            for row in rows
        ],
    )


def host_is_silent(session: Session, host_id: str, *, now: datetime) -> None:
    """Its attempts are Disconnected; what they were before is kept."""
    change = Change(TaskState.DISCONNECTED, now, message=f"host {host_id} does not answer")
    for row, workflow_id in _on_host(session, host_id):
        move(session, workflow_id, row, change)


def host_is_back(session: Session, host_id: str, *, now: datetime) -> None:
    """Its attempts are again what they were."""
    for row, workflow_id in _on_host(session, host_id):
        if row.state == TaskState.DISCONNECTED:
            back = _left(row) or TaskState.LAUNCHED
            move(session, workflow_id, row, Change(back, now, message=f"host {host_id} is back"))


def _on_host(session: Session, host_id: str) -> list[tuple[AttemptRow, str]]:
    query = (
        select(AttemptRow, JobRow.workflow_id)
        .where(
            AttemptRow.host_id == host_id, col(AttemptRow.reserved), AttemptRow.job_id == JobRow.id
        )
        .order_by(col(AttemptRow.id))
    )
    return list(session.exec(query))

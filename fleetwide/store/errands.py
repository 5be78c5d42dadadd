"""Where a task runs at the moment, and the record of who did what there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.containers import AttemptKey
from fleetwide.models.task_states import TaskState
from fleetwide.store import events, jobs


@dataclass(frozen=True)
class LiveAttempt:
    """An attempt that a host has; its container may be about to start or to end."""

    key: AttemptKey
    host_id: str


def live_attempt(session: Session, task_id: str) -> LiveAttempt:
    """The attempt of a task that has a host.

    Raises:
        NotFound: there is no such task.
        Conflict: it waits for a host, or is over.
    """
    job = jobs.find(session, f"task/{task_id}")
    if job is None or job.id is None:
        raise NotFound(f"there is no task {task_id}", hint="fleetwide task list")
    rows = jobs.attempts(session, job.id)
    for row in reversed(rows):
        if row.host_id is not None and row.state != TaskState.FINISHED:
            key = AttemptKey(
                workflow_id=job.workflow_id, run_id=job.run_id, index=0, attempt=row.attempt
            )
            return LiveAttempt(key, row.host_id)
    state = TaskState.FINISHED if job.finished_at is not None else TaskState.ACCEPTED
    raise Conflict(
        f"task {task_id} is {state}: it does not run", hint=f"fleetwide task show {task_id}"
    )


def note(
    session: Session, live: LiveAttempt, by: str, data: Mapping[str, Any], *, now: datetime
) -> None:
    """Record for good who asked for a command or for files, and for which."""
    who = by or "somebody"
    events.append(
        session,
        live.key.workflow_id,
        str(data["kind"]),
        f"{who} asked for {data['kind']} on {live.host_id}",
        at=now,
        data={"by": by, "host": live.host_id, "attempt": live.key.attempt, **data},
    )

"""Which batch jobs wait for others to end, and which of them are to be told that one has."""

from collections.abc import Sequence

from sqlalchemy import delete, exists
from sqlmodel import Session, col, select

from fleetwide.models.batch_states import BatchState
from fleetwide.store import jobs
from fleetwide.store.batch_tables import JobWaitRow
from fleetwide.store.tables import JobRow

MOST_TOLD = 500


def state(session: Session, workflow_id: str) -> BatchState | None:
    """How a job stands; None for one that has no row."""
    row = jobs.find(session, workflow_id)
    if row is None:
        return None
    return BatchState.RUNNING if row.finished_at is None else BatchState(row.state)


def replace(session: Session, workflow_id: str, others: Sequence[str]) -> None:
    """Remember that the job waits for these, and for no more."""
    session.exec(delete(JobWaitRow).where(col(JobWaitRow.workflow_id) == workflow_id))
    session.add_all(JobWaitRow(workflow_id=workflow_id, on_id=other) for other in sorted(others))


def to_tell(session: Session) -> Sequence[JobWaitRow]:
    """Some waits whose other job has ended."""
    live = col(JobRow.workflow_id) == col(JobWaitRow.on_id)
    running = exists().where(live, col(JobRow.finished_at).is_(None))
    ended = exists().where(live, col(JobRow.finished_at).is_not(None))
    return session.exec(select(JobWaitRow).where(ended, ~running).limit(MOST_TOLD)).all()


def forget(session: Session, told: Sequence[JobWaitRow]) -> None:
    """Those were told; one that still waits for others asks, and is remembered, again."""
    for row in told:
        same = (col(JobWaitRow.workflow_id) == row.workflow_id, col(JobWaitRow.on_id) == row.on_id)
        session.exec(delete(JobWaitRow).where(*same))

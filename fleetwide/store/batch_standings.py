"""How batch jobs stand as a whole, and attempts that are asked for no more."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from fleetwide.batch.ranges import Ranges
from fleetwide.models.batch_control import JobNote, JobStanding
from fleetwide.models.containers import AttemptRequest
from fleetwide.models.task_states import TaskState
from fleetwide.store import events
from fleetwide.store.tables import AttemptRow, JobRow, WaiterRow


def read(job: JobRow) -> JobStanding:
    """How the job stands; nothing holds one of which nobody said anything."""
    return JobStanding.model_validate(job.standing or {})


def still_wanted(job: JobRow, asked: Sequence[AttemptRequest]) -> list[AttemptRequest]:
    """Those for which a host may be looked for: a question that was taken back may come late."""
    standing = read(job)
    if standing.waiting is not None or job.finished_at is not None:
        return []
    dropped = Ranges(parts=standing.dropped)
    return [each for each in asked if each.index not in dropped]


def write(session: Session, job: JobRow, note: JobNote, *, now: datetime) -> None:
    """Keep how it stands and tell of it, once: the same note again changes nothing."""
    standing = note.standing.model_dump(mode="json")
    if job.standing == standing or job.finished_at is not None:
        return
    job.standing = standing
    job.size = note.standing.size or job.size
    session.add(job)
    data = {"by": note.by} if note.by else {}
    events.append(session, job.workflow_id, note.kind, note.message, at=now, data=data)


def withdraw(
    session: Session, job: JobRow, wanted: Sequence[AttemptRequest]
) -> Sequence[AttemptRow]:
    """Delete those of the wanted attempts that have no host; the others that run, by index.

    The job is locked. Its activities that wait for hosts are told nothing any more.
    """
    keys = {(each.index, each.attempt) for each in wanted}
    query = select(AttemptRow).where(
        AttemptRow.job_id == job.id, col(AttemptRow.index).in_(sorted(index for index, _ in keys))
    )
    rows = session.exec(query.order_by(col(AttemptRow.id)).with_for_update()).all()
    rows = [row for row in rows if (row.index, row.attempt) in keys]
    idle = [row.id for row in rows if row.state == TaskState.ACCEPTED]
    session.exec(delete(AttemptRow).where(col(AttemptRow.id).in_(idle)))
    session.exec(update(WaiterRow).where(col(WaiterRow.job_id) == job.id).values(done=True))
    return [row for row in rows if row.reserved]

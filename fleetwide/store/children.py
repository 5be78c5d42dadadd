"""Array children as a batch job's attempts tell of them."""

from collections.abc import Sequence

from sqlalchemy import Integer, exists, func
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from fleetwide.batch.ranges import Ranges
from fleetwide.containers.retries import next_attempt
from fleetwide.models.base import Waiting
from fleetwide.models.batch import Child, ChildState
from fleetwide.models.retries import Lineage, RetryPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import archive, batch_standings
from fleetwide.store.tables import AttemptRow, JobRow


def listing(session: Session, job: JobRow, *, first: int = 0, limit: int = 200) -> list[Child]:
    """Children ``first`` to ``first + limit - 1`` of the array, by index."""
    last = min(first + limit, job.size)
    newest = {row.index: row for row in _newest(session, job, first, last)}
    dropped = Ranges(parts=batch_standings.read(job).dropped)
    return [_child(job, index, newest.get(index), dropped) for index in range(first, last)]


def counts(session: Session, job: JobRow) -> dict[ChildState, int]:
    """How many children stand where; the sum is the array's size."""
    found = dict.fromkeys(ChildState, 0)
    if job.result is not None and "succeeded" in job.result:
        for state in (ChildState.SUCCEEDED, ChildState.FAILED, ChildState.CANCELLED):
            found[state] = int(job.result.get(state, 0))
        return found
    rows = _newest(session, job, 0, job.size)
    for row in rows:
        found[child_state(job, row)] += 1
    unasked = job.size - len(rows)
    dropped = Ranges(parts=batch_standings.read(job).dropped)
    gone = dropped.count_from(0) - sum(row.index in dropped for row in rows)
    found[ChildState.CANCELLED] += gone
    found[ChildState.PENDING] += unasked - gone
    return found


def total_attempts(session: Session, job: JobRow) -> int:
    """Attempts of all children together."""
    count = session.exec(select(func.count()).where(AttemptRow.job_id == job.id)).one()
    if job.finished_at is not None and job.id is not None:
        # In the middle of a move both have some, and the archive all.
        return max(count, archive.count_attempts(session, job.id))
    return count


def oldest_wait(session: Session, job: JobRow) -> Waiting | None:
    """What holds the whole job, or why the oldest attempt without a host has none."""
    held = batch_standings.read(job).waiting
    if held is not None:
        return held
    query = (
        select(AttemptRow)
        .where(AttemptRow.job_id == job.id, AttemptRow.state == TaskState.ACCEPTED)
        .order_by(col(AttemptRow.id))
        .limit(1)
    )
    row = session.exec(query).first()
    return Waiting.model_validate(row.waiting) if row and row.waiting else None


def child_state(job: JobRow, row: AttemptRow) -> ChildState:
    """What the newest attempt of a child says about the child."""
    if row.state == TaskState.ACCEPTED:
        return ChildState.RETRYING if row.attempt > 1 else ChildState.PENDING
    if row.state != TaskState.FINISHED:
        return ChildState.RUNNING
    reason = EndReason(row.reason or EndReason.PLATFORM_FAULT)
    if reason is EndReason.NORMAL:
        return ChildState.SUCCEEDED
    if reason is EndReason.KILLED:
        return ChildState.CANCELLED
    return ChildState.RETRYING if _will_retry(job, row, reason) else ChildState.FAILED


def _will_retry(job: JobRow, row: AttemptRow, reason: EndReason) -> bool:
    if job.finished_at is not None:
        return False
    policy = RetryPolicy.model_validate(job.spec.get("retry", {}))
    spent = Lineage.model_validate(row.lineage).spent
    return next_attempt(reason, policy, spent, row.exit_code) is not None


def _newest(session: Session, job: JobRow, first: int, last: int) -> Sequence[AttemptRow]:
    attempt = sql_cast(func.max(AttemptRow.attempt), Integer).label("attempt")
    newest = (
        select(col(AttemptRow.index).label("index"), attempt)
        .where(AttemptRow.job_id == job.id, col(AttemptRow.index) >= first, AttemptRow.index < last)
        .group_by(col(AttemptRow.index))
        .subquery()
    )
    query = select(AttemptRow).join(
        newest,
        (col(AttemptRow.index) == newest.c.index) & (col(AttemptRow.attempt) == newest.c.attempt),
    )
    rows = session.exec(query.where(AttemptRow.job_id == job.id)).all()
    if job.finished_at is None or job.id is None:
        return rows
    archived = {row.index: row for row in archive.attempts(session, job.id, first, last)}
    return list((archived | {row.index: row for row in rows}).values())


def _child(job: JobRow, index: int, row: AttemptRow | None, dropped: Ranges) -> Child:
    if row is None:
        over = job.finished_at is not None or index in dropped
        return Child(index=index, state=ChildState.CANCELLED if over else ChildState.PENDING)
    return Child(
        index=index,
        state=child_state(job, row),
        attempts=row.attempt,
        exit_code=row.exit_code,
        reason=EndReason(row.reason) if row.reason else None,
        host_id=row.host_id,
    )


def between_attempts(session: Session, job_id: int) -> int:
    """Children whose last attempt has ended, and whose next one has no row yet."""
    later = aliased(AttemptRow)
    query = select(AttemptRow, JobRow).join(JobRow, col(AttemptRow.job_id) == JobRow.id)
    query = query.where(
        AttemptRow.job_id == job_id,
        AttemptRow.state == TaskState.FINISHED,
        col(AttemptRow.reason).not_in([EndReason.NORMAL, EndReason.KILLED]),
        ~exists().where(
            col(later.job_id) == job_id,
            col(later.index) == AttemptRow.index,
            col(later.attempt) == AttemptRow.attempt + 1,
        ),
    )
    rows = session.exec(query).all()
    return sum(child_state(job, row) is ChildState.RETRYING for row, job in rows)

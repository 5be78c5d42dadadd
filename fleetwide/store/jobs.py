"""Container tasks and batch jobs, with their attempts. Every write is safe to repeat."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, select

from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    EndReason,
    FinishJob,
    JobHeader,
    TaskState,
)
from fleetwide.store import events
from fleetwide.store.tables import AttemptRow, JobRow, WaiterRow


def find(session: Session, workflow_id: str, run_id: str | None = None) -> JobRow | None:
    """The job of one run, or of the newest run when ``run_id`` is not given."""
    query = select(JobRow).where(JobRow.workflow_id == workflow_id)
    if run_id is not None:
        query = query.where(JobRow.run_id == run_id)
    return session.exec(query.order_by(col(JobRow.id).desc()).limit(1)).first()


def ensure(session: Session, header: JobHeader, image: str, *, now: datetime) -> JobRow:
    """The job's row, inserted on the first call."""
    row = find(session, header.workflow_id, header.run_id)
    if row is not None:
        return row
    row = JobRow(
        workflow_id=header.workflow_id,
        run_id=header.run_id,
        kind=header.kind,
        app=header.app,
        owner=header.owner,
        queue=header.queue,
        size=header.size,
        state=TaskState.ACCEPTED,
        image=image,
        spec=header.model_dump(mode="json"),
        created_at=now,
    )
    session.add(row)
    session.flush()
    events.append(session, header.workflow_id, "accepted", f"accepted {header.app}", at=now)
    return row


def attempts(session: Session, job_id: int) -> Sequence[AttemptRow]:
    """All attempts of a job, by index and attempt."""
    query = select(AttemptRow).where(AttemptRow.job_id == job_id)
    return session.exec(query.order_by(col(AttemptRow.index), col(AttemptRow.attempt))).all()


def ensure_attempts(
    session: Session,
    job: JobRow,
    header: JobHeader,
    wanted: list[AttemptRequest],
    waiter: WaiterRow,
    *,
    now: datetime,
) -> list[AttemptRow]:
    """Rows for the wanted attempts, all tied to ``waiter``; existing rows are kept."""
    assert job.id is not None
    known = {
        (row.index, row.attempt): row
        for row in session.exec(select(AttemptRow).where(AttemptRow.job_id == job.id))
    }
    rows = []
    for request in wanted:
        row = known.get((request.index, request.attempt)) or AttemptRow(
            job_id=job.id,
            index=request.index,
            attempt=request.attempt,
            state=TaskState.ACCEPTED,
            cpu_milli=header.container.resources.cpu_milli,
            memory_bytes=int(header.container.resources.memory),
            host_labels=header.container.host_labels,
            avoid_hosts=request.avoid_hosts,
            accepted_at=now,
        )
        row.waiter_id = waiter.id
        session.add(row)
        rows.append(row)
    session.flush()
    return rows


def ensure_waiter(
    session: Session, job: JobRow, run_id: str, activity_id: str, *, now: datetime
) -> WaiterRow:
    """The row that names the waiting activity, so that it can be completed from outside.

    ``run_id`` is the run that the activity belongs to, which for a continued job is a later one
    than the job's own.
    """
    query = select(WaiterRow).where(
        WaiterRow.workflow_id == job.workflow_id,
        WaiterRow.run_id == run_id,
        WaiterRow.activity_id == activity_id,
    )
    row = session.exec(query).first()
    if row is None:
        assert job.id is not None
        row = WaiterRow(
            job_id=job.id,
            workflow_id=job.workflow_id,
            run_id=run_id,
            activity_id=activity_id,
            created_at=now,
        )
        session.add(row)
        session.flush()
    return row


def record_attempt(session: Session, result: AttemptResult, *, now: datetime) -> None:
    """Book the end of an attempt and give its reservation back; the first end wins."""
    job = find(session, result.key.workflow_id, result.key.run_id)
    row = find_attempt(session, result.key)
    if job is None or row is None:
        return
    # Two may book the end at once: the second has to see what the first wrote.
    session.refresh(row, with_for_update=True)
    if row.state == TaskState.FINISHED:
        return
    row.state = TaskState.FINISHED
    row.reason = result.reason
    row.message = result.message
    row.exit_code = result.exit_code
    row.oom_killed = result.oom_killed
    row.log_key = result.log_key
    row.result = result.model_dump(mode="json")
    row.started_at = result.started_at or row.started_at
    row.finished_at = result.finished_at or now
    row.reserved = False
    row.waiting = None
    session.add(row)
    label = f"[{row.index}] " if job.kind == "batch" else ""
    events.append(
        session,
        job.workflow_id,
        "attemptFinished",
        f"{label}attempt {row.attempt} {result.reason}: {result.message}",
        at=now,
        data={"index": row.index, "attempt": row.attempt, "exitCode": result.exit_code},
    )


def finish(session: Session, request: FinishJob, *, now: datetime) -> None:
    """Book the end of a job; attempts that never ran end as killed, nothing stays reserved."""
    job = ensure(session, request.job, request.job.container.image, now=now)
    for result in request.attempts:
        record_attempt(session, result, now=now)
    session.exec(
        update(AttemptRow)
        .where(col(AttemptRow.job_id) == job.id, col(AttemptRow.state) != TaskState.FINISHED)
        .values(
            state=TaskState.FINISHED,
            reason=EndReason.KILLED,
            reserved=False,
            waiting=None,
            finished_at=now,
        )
    )
    session.exec(update(WaiterRow).where(col(WaiterRow.job_id) == job.id).values(done=True))
    if job.finished_at is not None:
        return
    job.state = request.state
    job.result = request.result
    job.finished_at = now
    session.add(job)
    events.append(session, job.workflow_id, "finished", f"ended as {request.state}", at=now)


def find_attempt(session: Session, key: AttemptKey) -> AttemptRow | None:
    """The row of one attempt."""
    query = (
        select(AttemptRow)
        .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
        .where(
            JobRow.workflow_id == key.workflow_id,
            JobRow.run_id == key.run_id,
            AttemptRow.index == key.index,
            AttemptRow.attempt == key.attempt,
        )
    )
    return session.exec(query).first()


def is_forward(state: TaskState, to: TaskState) -> bool:
    """Whether ``to`` comes after ``state`` in an attempt's life."""
    order = list(TaskState)
    return order.index(to) > order.index(state)


def mark_started(session: Session, row: AttemptRow, state: TaskState, *, since: datetime) -> None:
    """Move a live attempt forward to ``state``; a step backward is ignored."""
    if not is_forward(TaskState(row.state), state):
        return
    row.state = state
    if state is TaskState.STARTED:
        row.started_at = since
    session.add(row)


def listing(
    session: Session,
    kind: str,
    *,
    state: str | None = None,
    app: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Sequence[JobRow]:
    """Jobs of a kind, newest first; ``before`` is the id of the last row already seen."""
    query = select(JobRow).where(JobRow.kind == kind)
    if state is not None:
        query = query.where(JobRow.state == state)
    if app is not None:
        query = query.where(JobRow.app == app)
    if before is not None:
        query = query.where(col(JobRow.id) < before)
    return session.exec(query.order_by(col(JobRow.id).desc()).limit(limit)).all()


def live(session: Session) -> Sequence[JobRow]:
    """Jobs that are not finished."""
    return session.exec(select(JobRow).where(col(JobRow.finished_at).is_(None))).all()

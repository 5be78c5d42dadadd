"""Container tasks and batch jobs, with their attempts. Every write is safe to repeat."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from fleetwide.containers.host_times import Run, fitted
from fleetwide.containers.transitions import is_forward
from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    FinishJob,
    JobHeader,
    JobKind,
)
from fleetwide.models.evictions import AttemptKill
from fleetwide.models.hosts import ContainerReport
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import archive, attempt_states, events, host_quality, job_shapes, queues
from fleetwide.store import labels as labels_store
from fleetwide.store.attempt_states import Change, Outcome
from fleetwide.store.tables import AttemptRow, JobRow, WaiterRow

NOTHING_HELD = {"reserved": False, "waiting": None, "preempt_at": None}


def find(
    session: Session, workflow_id: str, run_id: str | None = None, *, lock: bool = False
) -> JobRow | None:
    """The job of one run, or of the newest run when ``run_id`` is not given.

    One from the archive is not part of the session: it is over, and does not change. With ``lock``
    whoever wants to lock the row as well waits until the transaction ends.
    """
    query = select(JobRow).where(JobRow.workflow_id == workflow_id)
    if run_id is not None:
        query = query.where(JobRow.run_id == run_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = session.exec(query.order_by(col(JobRow.id).desc()).limit(1)).first()
    return row or archive.find(session, workflow_id, run_id)


def ensure(
    session: Session,
    header: JobHeader,
    image: str,
    *,
    now: datetime,
    extra_images: dict[str, str] | None = None,
) -> JobRow:
    """The job's row, inserted on the first call; the images are pinned by digest.

    It is locked: attempts are added and the job is closed one after the other.
    """
    row = find(session, header.workflow_id, header.run_id, lock=True)
    if row is not None:
        return row
    spec = header.model_dump(mode="json")
    queue, pending_until = header.queue, None
    if header.kind is JobKind.BATCH:
        queue, pending_until = queues.settle(session, header.queue, now=now)
    row = JobRow(
        workflow_id=header.workflow_id,
        run_id=header.run_id,
        kind=header.kind,
        app=header.app,
        owner=header.owner,
        queue=queue,
        pending_until=pending_until,
        size=header.size,
        **_membership(header),
        capacity_group=header.capacity_group,
        priority=header.priority,
        state=TaskState.ACCEPTED,
        image=image,
        extra_images=extra_images or None,
        spec=spec,
        asks=job_shapes.asks(spec["container"]),
        created_at=now,
    )
    session.add(row)
    session.flush()
    labels_store.write(session, row, header.labels)
    events.append(session, header.workflow_id, "accepted", f"accepted {header.app}", at=now)
    return row


def _membership(header: JobHeader) -> dict[str, Any]:
    one = header.membership
    if one is None:
        return {}
    return {"service_id": one.service_id, "copy_index": one.index, "revision": one.revision}


def attempts(session: Session, job_id: int) -> Sequence[AttemptRow]:
    """All attempts of a job, by index and attempt; wherever they are."""
    query = select(AttemptRow).where(AttemptRow.job_id == job_id)
    rows = session.exec(query.order_by(col(AttemptRow.index), col(AttemptRow.attempt))).all()
    if any(row.state != TaskState.FINISHED for row in rows):
        return rows
    found = {(row.index, row.attempt): row for row in archive.attempts(session, job_id)}
    found |= {(row.index, row.attempt): row for row in rows}
    return [found[key] for key in sorted(found)]


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
        for row in session.exec(
            select(AttemptRow).where(
                AttemptRow.job_id == job.id,
                col(AttemptRow.index).in_([request.index for request in wanted]),
            )
        )
    }
    rows, added = [], []
    for request in wanted:
        row = known.get((request.index, request.attempt)) or AttemptRow(
            job_id=job.id,
            index=request.index,
            attempt=request.attempt,
            state=TaskState.ACCEPTED,
            cpu_milli=header.container.resources.cpu_milli,
            memory_bytes=int(header.container.resources.memory),
            disk_bytes=header.container.resources.disk_bytes,
            network_mbps=header.container.resources.network,
            gpus=header.container.resources.gpus,
            host_labels=header.container.host_labels,
            avoid_hosts=request.avoid_hosts,
            lineage=request.lineage.model_dump(mode="json"),
            accepted_at=now,
        )
        if row.id is None:
            added.append(row)
        row.waiter_id = waiter.id
        session.add(row)
        rows.append(row)
    session.flush()
    attempt_states.accepted(session, job, added)
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


def record_attempt(session: Session, result: AttemptResult, *, now: datetime) -> Outcome:
    """Book the end of an attempt and give its reservation back; the first end wins.

    Both times of its run are the host's then, so that how long it ran is by one clock.
    """
    row = find_attempt(session, result.key)
    if row is None:
        return Outcome.SAME
    told = Run(result.started_at, result.finished_at or now)
    run = fitted(told, launched=row.launched_at, now=now)
    ended = Change(
        TaskState.FINISHED,
        run.ended or now,
        result.reason,
        result.message,
        started_at=run.started,
        exit_code=result.exit_code,
        values={
            **({"started_at": run.started} if run.started else {}),
            "reason": result.reason,
            "message": result.message,
            "exit_code": result.exit_code,
            "oom_killed": result.oom_killed,
            "log_key": result.log_key,
            "result": result.model_dump(mode="json"),
            "finished_at": run.ended or now,
            **NOTHING_HELD,
        },
    )
    outcome = attempt_states.move(session, result.key.workflow_id, row, ended)
    if outcome is Outcome.MOVED:
        host_quality.note(session, row.host_id, result.reason, at=now)
    return outcome


def record_kill(session: Session, kill: AttemptKill, *, now: datetime) -> Outcome:
    """Book that an attempt is being stopped; the first reason stays."""
    row = find_attempt(session, kill.key)
    if row is None:
        return Outcome.SAME
    why = {"reason": kill.reason, "message": kill.message}
    stopping = Change(TaskState.KILL_INITIATED, now, kill.reason, kill.message, values=why)
    return attempt_states.move(session, kill.key.workflow_id, row, stopping)


def finish(session: Session, request: FinishJob, *, now: datetime) -> None:
    """Book the end of a job; attempts that never ran end as killed, nothing stays reserved."""
    job = ensure(session, request.job, request.job.container.image, now=now)
    for result in request.attempts:
        record_attempt(session, result, now=now)
    live = select(AttemptRow).where(
        AttemptRow.job_id == job.id, col(AttemptRow.state) != TaskState.FINISHED
    )
    killed = {"reason": EndReason.KILLED, "finished_at": now, **NOTHING_HELD}
    for row in session.exec(live.order_by(col(AttemptRow.id))).all():
        end = Change(TaskState.FINISHED, now, EndReason.KILLED, values=killed)
        attempt_states.move(session, job.workflow_id, row, end)
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


def on_hosts(session: Session, host_ids: Sequence[str]) -> dict[AttemptKey, AttemptRow]:
    """Live attempts that hold something of these hosts: one query, however many there are."""
    query = (
        select(AttemptRow, JobRow.workflow_id, JobRow.run_id)
        .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
        .where(col(AttemptRow.host_id).in_(host_ids), col(AttemptRow.reserved).is_(True))
    )
    return {
        AttemptKey(
            workflow_id=workflow_id, run_id=run_id, index=row.index, attempt=row.attempt
        ): row
        for row, workflow_id, run_id in session.exec(query)
    }


def is_news(row: AttemptRow, state: TaskState) -> bool:
    """Whether a live attempt is not in ``state`` yet, nor beyond it."""
    left = TaskState(row.left_state) if row.left_state else None
    return is_forward(TaskState(row.state), left, state)


def mark(session: Session, report: ContainerReport, *, now: datetime) -> Outcome:
    """Move a live attempt to where its host says it is; a step backward is dropped."""
    row = find_attempt(session, report.key)
    if row is None:
        return Outcome.SAME
    since = fitted(Run(report.since), launched=row.launched_at, now=now).started or now
    started = since if report.state is TaskState.STARTED else None
    why = {"reason": report.reason} if report.reason else {}
    change = Change(report.state, since, report.reason, started_at=started, values=why)
    return attempt_states.move(session, report.key.workflow_id, row, change)


def live(session: Session) -> Sequence[JobRow]:
    """Jobs that are not finished."""
    return session.exec(select(JobRow).where(col(JobRow.finished_at).is_(None))).all()

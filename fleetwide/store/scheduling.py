"""What the scheduler reads and commits: the snapshot, the placements, the waiters to tell."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, select

from fleetwide.containers.placement import Decision, HostSnapshot, PendingAttempt, Snapshot
from fleetwide.models.base import Waiting
from fleetwide.models.containers import HostState, Placement, TaskState, host_task_queue
from fleetwide.store import events, hosts
from fleetwide.store.tables import AttemptRow, HostRow, JobRow, WaiterRow

PENDING_LIMIT = 1000


def snapshot(session: Session) -> Snapshot:
    """Active hosts with what is free on them, and the oldest attempts without a host."""
    taken = hosts.reserved(session)
    active = session.exec(
        select(HostRow).where(HostRow.state == HostState.ACTIVE).order_by(HostRow.host_id)
    ).all()
    pending = session.exec(
        select(AttemptRow)
        .where(AttemptRow.state == TaskState.ACCEPTED)
        .order_by(col(AttemptRow.id))
        .limit(PENDING_LIMIT)
    ).all()
    return Snapshot(
        hosts=tuple(_host(row, *taken.get(row.host_id, (0, 0))) for row in active),
        pending=tuple(_pending(row) for row in pending),
    )


def has_pending(session: Session) -> bool:
    """Whether any attempt has no host yet."""
    query = select(AttemptRow.id).where(AttemptRow.state == TaskState.ACCEPTED).limit(1)
    return session.exec(query).first() is not None


def _host(row: HostRow, cpu_taken: int, memory_taken: int) -> HostSnapshot:
    return HostSnapshot(
        host_id=row.host_id,
        version=row.version,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        free_cpu_milli=row.cpu_milli - cpu_taken,
        free_memory_bytes=row.memory_bytes - memory_taken,
        labels=frozenset(row.labels.items()),
    )


def _pending(row: AttemptRow) -> PendingAttempt:
    assert row.id is not None
    return PendingAttempt(
        attempt_id=row.id,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        host_labels=frozenset(row.host_labels.items()),
        avoid_hosts=frozenset(row.avoid_hosts),
    )


def commit(
    session: Session, planned: Snapshot, decisions: tuple[Decision, ...], *, now: datetime
) -> int:
    """Write the decisions whose host is unchanged since the snapshot; returns how many.

    A host's version is compared and raised in one statement: a plan made on old figures loses and
    is made again, so that no host is ever filled twice.
    """
    versions = {host.host_id: host.version for host in planned.hosts}
    placed = 0
    for host_id in sorted({decision.host_id for decision in decisions}):
        claimed = session.exec(
            update(HostRow)
            .where(
                col(HostRow.host_id) == host_id,
                col(HostRow.version) == versions[host_id],
                col(HostRow.state) == HostState.ACTIVE,
            )
            .values(version=HostRow.version + 1)
        ).rowcount
        if claimed:
            ids = [d.attempt_id for d in decisions if d.host_id == host_id]
            placed += _launch(session, host_id, ids, now)
    return placed


def _launch(session: Session, host_id: str, attempt_ids: list[int], now: datetime) -> int:
    return session.exec(
        update(AttemptRow)
        .where(col(AttemptRow.id).in_(attempt_ids), col(AttemptRow.state) == TaskState.ACCEPTED)
        .values(
            state=TaskState.LAUNCHED,
            host_id=host_id,
            reserved=True,
            launched_at=now,
            waiting=None,
        )
    ).rowcount


def explain(session: Session, attempt_id: int, waiting: Waiting) -> None:
    """Keep why an attempt waits; an attempt that got a host meanwhile is left alone."""
    session.exec(
        update(AttemptRow)
        .where(col(AttemptRow.id) == attempt_id, col(AttemptRow.state) == TaskState.ACCEPTED)
        .values(waiting=waiting.model_dump(mode="json"))
    )


@dataclass(frozen=True)
class Delivery:
    """Placements that a waiting activity has not been told yet."""

    waiter_id: int
    workflow_id: str
    run_id: str
    activity_id: str
    placements: tuple[Placement, ...]


def placement_of(attempt: AttemptRow, image: str) -> Placement:
    """The placement that a launched attempt stands for."""
    assert attempt.host_id is not None
    return Placement(
        index=attempt.index,
        attempt=attempt.attempt,
        host_id=attempt.host_id,
        task_queue=host_task_queue(attempt.host_id),
        image=image,
    )


def undelivered(session: Session) -> list[Delivery]:
    """Every open waiter for which at least one attempt was placed."""
    query = (
        select(WaiterRow, AttemptRow, JobRow)
        .where(
            col(WaiterRow.done).is_(False),
            AttemptRow.waiter_id == WaiterRow.id,
            col(AttemptRow.reserved).is_(True),
            JobRow.id == WaiterRow.job_id,
        )
        .order_by(col(WaiterRow.id), col(AttemptRow.id))
    )
    found: dict[int, tuple[WaiterRow, list[Placement]]] = {}
    for waiter, attempt, job in session.exec(query):
        assert waiter.id is not None
        found.setdefault(waiter.id, (waiter, []))[1].append(placement_of(attempt, job.image))
    return [
        Delivery(key, waiter.workflow_id, waiter.run_id, waiter.activity_id, tuple(placements))
        for key, (waiter, placements) in found.items()
    ]


def mark_delivered(session: Session, waiter_ids: list[int]) -> None:
    """Close waiters that were told, or that nobody waits behind any more."""
    session.exec(update(WaiterRow).where(col(WaiterRow.id).in_(waiter_ids)).values(done=True))


@dataclass(frozen=True)
class Notice:
    """A waiting reason that a workflow has not been told yet."""

    waiter_id: int
    workflow_id: str
    run_id: str
    waiting: Waiting


def untold(session: Session, *, accepted_before: datetime) -> list[Notice]:
    """Reasons of waits that began before the given time and differ from what was last told."""
    query = (
        select(WaiterRow, AttemptRow)
        .where(
            col(WaiterRow.done).is_(False),
            AttemptRow.waiter_id == WaiterRow.id,
            AttemptRow.state == TaskState.ACCEPTED,
            col(AttemptRow.accepted_at) < accepted_before,
        )
        .order_by(col(AttemptRow.id))
    )
    notices: dict[int, Notice] = {}
    for waiter, attempt in session.exec(query):
        assert waiter.id is not None
        if attempt.waiting is None or waiter.id in notices:
            continue
        waiting = Waiting.model_validate(attempt.waiting)
        if waiting.code != waiter.told:
            notices[waiter.id] = Notice(waiter.id, waiter.workflow_id, waiter.run_id, waiting)
    return list(notices.values())


def mark_told(session: Session, notice: Notice, *, now: datetime) -> None:
    """Remember what a workflow was told, and keep it as an event."""
    session.exec(
        update(WaiterRow)
        .where(col(WaiterRow.id) == notice.waiter_id)
        .values(told=notice.waiting.code)
    )
    events.append(
        session,
        notice.workflow_id,
        "waiting",
        notice.waiting.sentence,
        at=now,
        data=notice.waiting.model_dump(mode="json"),
    )

"""What the scheduler reads, and the waiters to tell. ``launches`` writes what was decided."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import exists, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.containers.placement import Fleet, Snapshot
from fleetwide.models.base import Waiting
from fleetwide.models.containers import Placement
from fleetwide.models.hosts import host_task_queue
from fleetwide.models.task_states import TaskState
from fleetwide.store import capacity_groups, events, fleet_picture
from fleetwide.store.among import among
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.kept_usage import KeptUsage
from fleetwide.store.pending import Queue
from fleetwide.store.tables import AttemptRow, JobRow, WaiterRow

MOST_NOTICES = 100
IDS_AT_ONCE = 500
# Built once: an idle scheduler asks many times a second.
_WORK = select(
    exists().where(col(AttemptRow.state) == TaskState.ACCEPTED),
    exists().where(col(WaiterRow.done).is_(False)),
)
# Columns, not objects: thousands are told in one turn.
_PLACED = (
    select_columns(
        col(WaiterRow.id),
        col(WaiterRow.workflow_id),
        col(WaiterRow.run_id),
        col(WaiterRow.activity_id),
        col(AttemptRow.index),
        col(AttemptRow.attempt),
        col(AttemptRow.host_id),
        col(AttemptRow.devices),
        col(AttemptRow.ports),
        col(JobRow.image),
        col(JobRow.extra_images),
    )
    .where(
        col(WaiterRow.done).is_(False),
        col(AttemptRow.waiter_id) == col(WaiterRow.id),
        col(AttemptRow.reserved).is_(True),
        col(JobRow.id) == col(WaiterRow.job_id),
    )
    .order_by(col(WaiterRow.id), col(AttemptRow.id))
)


def snapshot(
    session: Session, shapes: JobShapes | None = None, *, now: datetime | None = None
) -> Snapshot:
    """All hosts that take work with what is free on them, and attempts without a host.

    The scheduler itself reads all of it only now and then (``KeptFleet``, ``Queue``).
    """
    now = now or datetime.now(UTC)
    shapes = shapes or JobShapes()
    queue = Queue(shapes)
    queue.refresh(session, now=now)
    found = fleet_picture.all_hosts(session, shapes, queue.images, now=now)
    usage = KeptUsage()
    usage.take_all(found.usage)
    return Snapshot(
        fleet=Fleet.of(each.host for each in found.hosts),
        requests=queue.requests,
        occupants=tuple(one for each in found.hosts for one in each.occupants),
        groups=usage.groups(capacity_groups.for_engine(session)),
    )


def work(session: Session) -> tuple[bool, bool]:
    """Whether any attempt has no host yet, and whether anybody waits to be told of one."""
    pending, waiter = session.connection().execute(_WORK).one()
    return pending, waiter


@dataclass(frozen=True)
class Delivery:
    """Placements that a waiting activity has not been told yet."""

    waiter_id: int
    workflow_id: str
    run_id: str
    activity_id: str
    placements: tuple[Placement, ...]


def placement_of(
    attempt: AttemptRow, image: str, extra_images: Mapping[str, str] | None
) -> Placement:
    """The placement that a launched attempt stands for."""
    what = (attempt.index, attempt.attempt, attempt.host_id, attempt.devices, attempt.ports)
    return _placement((*what, image, extra_images))


def _placement(columns: Sequence[Any]) -> Placement:
    index, attempt, host_id, devices, ports, image, extra_images = columns
    return Placement(
        index=index,
        attempt=attempt,
        host_id=host_id,
        task_queue=host_task_queue(host_id),
        image=image,
        devices=devices,
        ports=ports,
        extra_images=dict(extra_images or {}),
    )


def undelivered(session: Session, launched: Collection[int] | None = None) -> list[Delivery]:
    """Every open waiter for which at least one attempt was placed, or one of the ``launched``."""
    if launched is None:
        return _deliveries(session, None)
    ids = sorted(launched)
    parts = (ids[first : first + IDS_AT_ONCE] for first in range(0, len(ids), IDS_AT_ONCE))
    waiters = {number for part in parts for number in _waiters_of(session, part)}
    return _deliveries(session, waiters) if waiters else []


def _waiters_of(session: Session, attempt_ids: list[int]) -> list[int]:
    query = select(AttemptRow.waiter_id).where(
        among(session, col(AttemptRow.id), attempt_ids), col(AttemptRow.waiter_id).is_not(None)
    )
    return [number for number in session.exec(query) if number is not None]


def _deliveries(session: Session, waiter_ids: Collection[int] | None) -> list[Delivery]:
    waiters: dict[int, tuple[str, str, str]] = {}
    placements: dict[int, list[Placement]] = {}
    ids = None if waiter_ids is None else sorted(waiter_ids)
    parts = [ids[n : n + IDS_AT_ONCE] for n in range(0, len(ids), IDS_AT_ONCE)] if ids else [None]
    for part in parts:
        some = _PLACED if part is None else _PLACED.where(among(session, col(WaiterRow.id), part))
        for key, workflow_id, run_id, activity_id, *placed in session.connection().execute(some):
            assert key is not None
            waiters[key] = (workflow_id, run_id, activity_id)
            placements.setdefault(key, []).append(_placement(placed))
    return [Delivery(key, *waiters[key], tuple(there)) for key, there in placements.items()]


def mark_delivered(session: Session, waiter_ids: list[int]) -> None:
    """Close waiters that were told, or that nobody waits behind any more."""
    told = among(session, col(WaiterRow.id), waiter_ids)
    session.connection().execute(update(WaiterRow).where(told).values(done=True))


@dataclass(frozen=True)
class Notice:
    """A waiting reason that a workflow has not been told yet."""

    waiter_id: int
    workflow_id: str
    run_id: str
    waiting: Waiting


def untold(session: Session, *, accepted_before: datetime) -> list[Notice]:
    """Some reasons of waits that began before then and differ from what was last told."""
    query = (
        select(WaiterRow, AttemptRow.waiting)
        .where(
            col(WaiterRow.done).is_(False),
            AttemptRow.waiter_id == WaiterRow.id,
            AttemptRow.state == TaskState.ACCEPTED,
            col(AttemptRow.accepted_at) < accepted_before,
            col(AttemptRow.waiting)["code"].as_string() != WaiterRow.told,
        )
        .order_by(col(AttemptRow.id))
        .limit(MOST_NOTICES)
    )
    notices: dict[int, Notice] = {}
    for waiter, told in session.exec(query):
        assert waiter.id is not None
        if waiter.id not in notices:
            waiting = Waiting.model_validate(told)
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

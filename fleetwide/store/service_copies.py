"""The copies of a service: written before their tasks start, closed after these have ended.

A row is an order: who carries it out may be killed at any point, and the next one goes on.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, literal
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployState
from fleetwide.models.health import HealthReport, HealthStatus
from fleetwide.models.membership import Membership
from fleetwide.models.service_moves import CopyMove, CopyStop
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.reconcile import Start, Stopping, Vacancy, lowest, next_streak
from fleetwide.store import archive, service_history, targets
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRow
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

KEPT_ENDS = 20
"""Copies of an index that have ended and are still told of."""
AT_ONCE = 500
UNHEARD_AFTER = timedelta(seconds=30)
"""A task that Temporal was given so long ago has a row."""


@dataclass(frozen=True)
class Seen:
    """One copy with the rows that it was made of."""

    row: ServiceCopyRow
    copy: Copy
    over: bool
    waiting: Mapping[str, Any] | None
    """Why its attempt has no host yet."""
    job_id: int | None


def _only(*fields: Any) -> Any:
    """Load these alone: SQLModel's columns are those of SQLAlchemy, by another type."""
    return load_only(*fields)


# There may be thousands, and what else their rows have is larger than all this.
_NEEDED = (
    _only(JobRow.finished_at, JobRow.result),
    _only(
        AttemptRow.state,
        AttemptRow.reason,
        AttemptRow.health,
        AttemptRow.host_id,
        AttemptRow.started_at,
        AttemptRow.waiting,
    ),
    _only(HostRow.labels),
)


def seen(session: Session, service_id: str) -> list[Seen]:
    """All copies that are not closed."""
    query = (
        select(ServiceCopyRow, JobRow, AttemptRow, HostRow)
        .join(JobRow, _is_its_job(), isouter=True)
        .join(AttemptRow, col(AttemptRow.job_id) == JobRow.id, isouter=True)
        .join(HostRow, col(HostRow.host_id) == AttemptRow.host_id, isouter=True)
        .where(ServiceCopyRow.service_id == service_id, col(ServiceCopyRow.ended_at).is_(None))
        .order_by(col(ServiceCopyRow.id))
        .options(*_NEEDED)
    )
    rows = session.exec(query).all()
    checked = _checked(session, service_id, {row.revision for row, *_ in rows})
    found: list[Seen] = []
    for row, job, attempt, host in rows:
        copy = _copy(row, attempt, host, checked=row.revision in checked)
        over = job is not None and job.finished_at is not None
        waiting = attempt.waiting if attempt is not None else None
        found.append(Seen(row, _ended(copy, row, job) if over else copy, over, waiting, _id(job)))
    return found


def _checked(session: Session, service_id: str, revisions: Collection[int]) -> set[int]:
    """Those of the revisions whose copies have a health check."""
    return {
        number
        for number in revisions
        if service_history.template_of(session, service_id, number).container.health is not None
    }


def _id(job: JobRow | None) -> int | None:
    return job.id if job is not None else None


def _is_its_job() -> ColumnElement[bool]:
    return col(JobRow.workflow_id) == literal("task/").concat(col(ServiceCopyRow.task_id))


def membership_of(row: ServiceCopyRow) -> Membership:
    """Which copy a row stands for."""
    place = Membership(
        service_id=row.service_id,
        index=row.index,
        revision=row.revision,
        incarnation=row.incarnation,
    )
    return place if place.task_id == row.task_id else _moved_here(place, row.task_id)


def _moved_here(place: Membership, task_id: str) -> Membership:
    return place.model_copy(update={"moved_task": task_id})


def _copy(
    row: ServiceCopyRow, attempt: AttemptRow | None, host: HostRow | None, *, checked: bool
) -> Copy:
    state = TaskState(attempt.state) if attempt else TaskState.ACCEPTED
    health = HealthReport.model_validate(attempt.health) if attempt and attempt.health else None
    healthy = state is TaskState.STARTED and row.stop is None
    return Copy(
        membership=membership_of(row),
        # One that leaves its load balancers is as good as stopped.
        state=TaskState.KILL_INITIATED if row.stop and state is not TaskState.FINISHED else state,
        health=health.status if health else (HealthStatus.STARTING if checked else None),
        healthy_since=_healthy_since(attempt, health, checked=checked) if healthy else None,
        host_id=attempt.host_id if attempt else None,
        zone=str(host.labels.get("zone", "")) if host else "",
        accepted_at=row.created_at,
        started_at=attempt.started_at if attempt else None,
        reason=_why(row, attempt),
        leaving=row.leaving is not None,
        move=CopyMove.model_validate(row.leaving) if row.leaving else None,
    )


def _why(row: ServiceCopyRow, attempt: AttemptRow | None) -> EndReason | None:
    """Why it is being stopped."""
    if row.stop is not None:
        return CopyStop.model_validate(row.stop).reason
    return EndReason(attempt.reason) if attempt is not None and attempt.reason else None


def _healthy_since(
    attempt: AttemptRow | None, health: HealthReport | None, *, checked: bool
) -> datetime | None:
    if attempt is None or attempt.started_at is None:
        return None
    if not checked:
        return attempt.started_at
    if health is None or health.status is not HealthStatus.HEALTHY:
        return None
    # By the platform's clock: a deploy must not wait for that of a host.
    return max(health.heard_at or health.since, attempt.started_at)


def _ended(copy: Copy, row: ServiceCopyRow, job: JobRow | None) -> Copy:
    """A copy whose task is over; a task that never had an attempt told its end in its result."""
    told = (job.result if job else None) or {}
    reason = told.get("reason") or EndReason.PLATFORM_FAULT
    return copy.model_copy(
        update={
            "state": TaskState.FINISHED,
            "healthy_since": None,
            "host_id": copy.host_id or told.get("host_id"),
            "finished_at": job.finished_at if job else row.created_at,
            "reason": EndReason(reason),
            "message": told.get("message", ""),
        }
    )


def close(session: Session, service: ServiceRow, one: Seen) -> None:
    """Note how a copy ended; of what ended long ago at its index only the newest are kept."""
    _close(session, service, one.row, one.copy)


def _close(session: Session, service: ServiceRow, row: ServiceCopyRow, copy: Copy) -> None:
    at, reason = copy.finished_at or copy.accepted_at, copy.reason or EndReason.PLATFORM_FAULT
    ran = (at - copy.started_at).total_seconds() if copy.started_at else 0.0
    service.ends += 1
    row.number, row.ended_at, row.started_at = service.ends, at, copy.started_at
    row.reason, row.message, row.host_id = reason, copy.message[:1000], copy.host_id
    row.streak = next_streak(_streak_before(session, row), reason, ran)
    session.add(row)
    session.add(service)
    old = delete(ServiceCopyRow).where(
        col(ServiceCopyRow.service_id) == row.service_id,
        col(ServiceCopyRow.index) == row.index,
        col(ServiceCopyRow.incarnation) <= row.incarnation - KEPT_ENDS,
        col(ServiceCopyRow.ended_at).is_not(None),
        col(ServiceCopyRow.number) <= service.ends_seen,
    )
    session.exec(old)


def _streak_before(session: Session, row: ServiceCopyRow) -> int:
    query = select(ServiceCopyRow.streak, ServiceCopyRow.revision).where(
        ServiceCopyRow.service_id == row.service_id,
        ServiceCopyRow.index == row.index,
        ServiceCopyRow.incarnation == row.incarnation - 1,
    )
    streak, revision = session.exec(query).first() or (0, row.revision)
    return streak if revision == row.revision else 0


def ended_since(session: Session, service: ServiceRow) -> list[Copy]:
    """Copies whose ends the deploy has not counted yet."""
    query = select(ServiceCopyRow).where(
        ServiceCopyRow.service_id == service.service_id,
        col(ServiceCopyRow.number) > service.ends_seen,
    )
    return [closed(row) for row in session.exec(query.order_by(col(ServiceCopyRow.number)))]


def closed(row: ServiceCopyRow) -> Copy:
    """A copy that has ended."""
    return Copy(
        membership=membership_of(row),
        state=TaskState.FINISHED,
        host_id=row.host_id,
        accepted_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.ended_at,
        reason=EndReason(row.reason) if row.reason else None,
        message=row.message,
    )


def vacancies(session: Session, service_id: str) -> list[Vacancy]:
    """Indices whose last copy has ended, but was not scaled down."""
    newest = (
        select(ServiceCopyRow.index, func.max(ServiceCopyRow.incarnation).label("last"))
        .where(ServiceCopyRow.service_id == service_id)
        .group_by(col(ServiceCopyRow.index))
        .subquery()
    )
    query = select(ServiceCopyRow).where(
        ServiceCopyRow.service_id == service_id,
        ServiceCopyRow.index == newest.c.index,
        ServiceCopyRow.incarnation == newest.c.last,
        col(ServiceCopyRow.ended_at).is_not(None),
        ServiceCopyRow.reason != EndReason.SCALED_DOWN,
    )
    return [Vacancy.after(closed(row), row.streak) for row in session.exec(query)]


def order_starts(
    session: Session, service_id: str, starts: Sequence[Start], *, now: datetime
) -> list[ServiceCopyRow]:
    """Write down copies that are to start, each as the next incarnation of its index."""
    last = _incarnations(session, service_id, [one.index for one in starts])
    rows = []
    for one in starts:
        member = Membership(
            service_id=service_id,
            index=one.index,
            revision=one.revision,
            incarnation=last.get(one.index, 0) + 1,
        )
        rows.append(_row(member, now))
    session.add_all(rows)
    return rows


def _incarnations(session: Session, service_id: str, indices: Collection[int]) -> dict[int, int]:
    """The newest of each of these indices, if there was any."""
    query = (
        select(ServiceCopyRow.index, func.max(ServiceCopyRow.incarnation))
        .where(ServiceCopyRow.service_id == service_id, col(ServiceCopyRow.index).in_(indices))
        .group_by(col(ServiceCopyRow.index))
    )
    return {index: number for index, number in session.exec(query)}  # noqa: C416


def _row(member: Membership, created_at: datetime) -> ServiceCopyRow:
    place = member.model_dump(exclude={"moved_task"})
    return ServiceCopyRow(**place, task_id=member.task_id, created_at=created_at)


def hand_over(
    session: Session, source: ServiceRow, target: ServiceRow, one: Seen, now: datetime
) -> ServiceCopyRow:
    """Close a copy's row in one service, and open one in another, at its lowest free index."""
    said = {
        "reason": EndReason.SCALED_DOWN,
        "finished_at": now,
        "message": f"it was moved to service {target.service_id}",
    }
    _close(session, source, one.row, one.copy.model_copy(update=said))
    session.flush()  # of the rows of a task only one may live
    index = _free_index(session, target.service_id)
    last = _incarnations(session, target.service_id, [index])
    place = Membership(
        service_id=target.service_id,
        index=index,
        revision=DeployState.model_validate(target.deploy).goes_to,
        incarnation=last.get(index, 0) + 1,
    )
    row = _row(_moved_here(place, one.row.task_id), one.row.created_at)
    row.begun = True
    session.add(row)
    session.flush()
    return row


def _free_index(session: Session, service_id: str) -> int:
    """The lowest that no copy has, and none that has ended keeps for the next one."""
    query = select(ServiceCopyRow.index).where(
        ServiceCopyRow.service_id == service_id, col(ServiceCopyRow.ended_at).is_(None)
    )
    kept = {one.index for one in vacancies(session, service_id)}
    return lowest({*session.exec(query), *kept})


def order_stops(
    session: Session, rows: Iterable[ServiceCopyRow], stops: Sequence[Stopping], *, now: datetime
) -> None:
    """Write down copies that are to stop; from here on their load balancers let go of them."""
    by_task = {one.task_id: one.stop for one in stops}
    for row in rows:
        if row.task_id in by_task and row.stop is None:
            row.stop = by_task[row.task_id].model_dump(mode="json")
            session.add(row)
            targets.release(session, row.service_id, row.task_id, now)


@dataclass(frozen=True)
class Orders:
    """What Temporal has still to be told of a service's copies."""

    starts: list[Membership]
    stops: list[tuple[str, CopyStop]]
    """By id of the task; none that a load balancer still sends requests to."""
    unheard: list[str]
    """Tasks that Temporal was given and that have no row: perhaps they are over."""


def orders(session: Session, rows: Iterable[Seen], *, now: datetime, limit: int) -> Orders:
    """Orders of the database that nobody has carried out.

    One that is to stop is started first if need be: perhaps it was, and nobody has noted it.
    """
    found = Orders([], [], [])
    for one in rows:
        row, lacks_row = one.row, one.job_id is None
        if not row.begun:
            found.starts.append(membership_of(row))
        elif _is_to_be_told(session, row, now, released=lacks_row):
            found.stops.append((row.task_id, CopyStop.model_validate(row.stop)))
        if row.begun and lacks_row and now - row.created_at > UNHEARD_AFTER:
            found.unheard.append(row.task_id)
    return Orders(found.starts[:limit], found.stops[:limit], found.unheard[:limit])


def _is_to_be_told(session: Session, row: ServiceCopyRow, now: datetime, *, released: bool) -> bool:
    waits = row.stop is not None and not row.told
    return waits and (released or targets.released(session, row.task_id, now))


def carried_out(session: Session, begun: Sequence[str], told: Sequence[str]) -> None:
    """Note which tasks Temporal has by now, and which know that they have to stop."""
    for task_ids, field in ((begun, "begun"), (told, "told")):
        for row in _rows(session, task_ids):
            setattr(row, field, True)
            session.add(row)


def found_over(session: Session, task_ids: Sequence[str], *, now: datetime) -> None:
    """Close copies whose tasks are over without a word; those of the archive tell their end."""
    for row in _rows(session, task_ids):
        service = session.get_one(ServiceRow, row.service_id)
        job = archive.find(session, f"task/{row.task_id}", None)
        bare = _copy(row, None, None, checked=False)
        copy = _ended(bare, row, job).model_copy(
            update={"finished_at": (job and job.finished_at) or now}
        )
        if job is None:
            copy = copy.model_copy(update={"message": "its workflow ended without a word"})
        if row.ended_at is None:
            close(session, service, Seen(row, copy, True, None, None))


def _rows(session: Session, task_ids: Sequence[str]) -> list[ServiceCopyRow]:
    if not task_ids:
        return []
    query = select(ServiceCopyRow).where(
        col(ServiceCopyRow.task_id).in_(task_ids), col(ServiceCopyRow.ended_at).is_(None)
    )
    return list(session.exec(query))


def leave(rows: Iterable[Seen], session: Session, move: CopyMove) -> list[str]:
    """Mark the copies that a move means; those that go already are left alone."""
    marked = []
    for one in rows:
        here = move.host_id is None or one.copy.host_id in (None, move.host_id)
        meant = here and move.index in (None, one.row.index)
        forces = move.forced and not (one.row.leaving or {}).get("forced")
        if meant and one.row.stop is None and (one.row.leaving is None or forces):
            one.row.leaving = move.model_dump(mode="json")
            session.add(one.row)
            marked.append(one.row.task_id)
    return marked


def find(session: Session, task_id: str) -> ServiceCopyRow | None:
    """The copy that a task is, or was last: one that was moved was one of other services, too."""
    query = select(ServiceCopyRow).where(ServiceCopyRow.task_id == task_id)
    return session.exec(query.order_by(col(ServiceCopyRow.id).desc()).limit(1)).first()


def of_service(session: Session, service: ServiceRow, task_id: str) -> ServiceCopyRow:
    """A copy of a service that is not over.

    Raises:
        Conflict: it has ended, or is being stopped, or is one of another service by now.
        NotFound: it never was one.
    """
    row = find(session, task_id)
    mine = ServiceCopyRow.service_id == service.service_id
    if row is not None and row.service_id != service.service_id:
        was = select(ServiceCopyRow).where(ServiceCopyRow.task_id == task_id, mine)
        if session.exec(was).first() is not None:
            raise Conflict(
                f"{task_id} was moved: it is a copy of {row.service_id} now",
                hint=f"fleetwide service copies {row.service_id}",
            )
    if row is None or row.service_id != service.service_id:
        raise NotFound(
            f"service {service.service_id} has no copy {task_id}",
            hint=f"fleetwide service copies {service.service_id}",
        )
    if row.ended_at is not None or row.stop is not None:
        raise Conflict(f"{task_id} has ended, or is being stopped already")
    return row


def services_of(session: Session, task_ids: Sequence[str]) -> dict[str, str]:
    """By task the service that it is a copy of; of those that are not over."""
    found = dict[str, str]()
    for first in range(0, len(task_ids), AT_ONCE):
        some = task_ids[first : first + AT_ONCE]
        query = select(ServiceCopyRow.task_id, ServiceCopyRow.service_id).where(
            col(ServiceCopyRow.task_id).in_(some), col(ServiceCopyRow.ended_at).is_(None)
        )
        found |= {task_id: service_id for task_id, service_id in session.exec(query)}  # noqa: C416
    return found


def may_stop_now(session: Session, *, now: datetime) -> list[str]:
    """Services with copies that no load balancer sends requests to any more, and wait to stop."""
    query = select(ServiceCopyRow.service_id, ServiceCopyRow.task_id).where(
        col(ServiceCopyRow.ended_at).is_(None),
        col(ServiceCopyRow.stop).is_not(None),
        col(ServiceCopyRow.told).is_(False),
        col(ServiceCopyRow.begun),
    )
    found = session.exec(query).all()
    return sorted({service for service, task in found if targets.released(session, task, now)})


def listing(
    session: Session,
    service_id: str,
    *,
    ended: bool = False,
    before: int | None = None,
    limit: int = 200,
) -> Sequence[ServiceCopyRow]:
    """Copies, newest first; those that have ended too, if asked for."""
    query = select(ServiceCopyRow).where(ServiceCopyRow.service_id == service_id)
    if not ended:
        query = query.where(col(ServiceCopyRow.ended_at).is_(None))
    if before is not None:
        query = query.where(col(ServiceCopyRow.id) < before)
    return session.exec(query.order_by(col(ServiceCopyRow.id).desc()).limit(limit)).all()

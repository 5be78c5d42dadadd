"""Capacity groups: changed by compare-and-set, each change an event with who wants it and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.containers.capacity import Vector, group_of
from fleetwide.containers.placement import UNCOUNTED, CapacityGroup, Dimension
from fleetwide.errors import Conflict, FieldFault, InvalidInput, NotFound
from fleetwide.models.capacity_groups import DEFAULT_GROUP, CapacityGroupChange, CapacityGroupSpec
from fleetwide.models.hosts import TAKES_WORK
from fleetwide.models.service_documents import ServiceState
from fleetwide.models.task_states import TaskState
from fleetwide.store import events
from fleetwide.store.capacity_tables import CapacityGroupRow
from fleetwide.store.service_tables import ServiceRevisionRow, ServiceRow
from fleetwide.store.tables import AttemptRow, HostRow, JobRow
from fleetwide.store.upserts import add_new

FIELD = "capacity_group"
# Resources that attempts hold, in the order of ``Amounts``.
HELD = (
    col(AttemptRow.cpu_milli),
    col(AttemptRow.memory_bytes),
    col(AttemptRow.disk_bytes),
    col(AttemptRow.network_mbps),
    col(AttemptRow.gpus),
)


@dataclass(frozen=True)
class Removal:
    """Who wants a group away, and why; ``revision`` is the one that it must have, if given."""

    revision: int | None
    by: str
    reason: str


@dataclass
class Use:
    """What the attempts of a group hold, and how many there are."""

    amounts: Vector = (0,) * len(Dimension)
    running: int = 0
    waiting: int = 0
    leaving: int = 0


@dataclass(frozen=True)
class Room:
    """All hosts that take work together; what nobody counts is endless."""

    whole: Vector
    free: Vector


@dataclass(frozen=True)
class Uses:
    """What each group uses by now, and the fleet that it uses."""

    room: Room
    by_group: Mapping[str, Use] = field(default_factory=dict)

    def of(self, name: str) -> Use:
        return self.by_group.get(name, Use())


def listing(session: Session) -> Sequence[CapacityGroupRow]:
    """All groups, by name."""
    return session.exec(select(CapacityGroupRow).order_by(CapacityGroupRow.name)).all()


def get(session: Session, name: str) -> CapacityGroupRow:
    """The group.

    Raises:
        NotFound: there is none of that name.
    """
    row = session.get(CapacityGroupRow, name)
    if row is None:
        raise NotFound(f"there is no capacity group {name}", hint="fleetwide capacity-group list")
    return row


def check(session: Session, name: str) -> None:
    """Refuse a group that is not there.

    Raises:
        InvalidInput: with those that there are.
    """
    if session.get(CapacityGroupRow, name) is not None:
        return
    known = ", ".join(row.name for row in listing(session))
    fault = FieldFault(FIELD, "there is no such capacity group", name)
    raise InvalidInput(str(fault), hint=f"one of {known}", fields=(fault,))


def spec_of(row: CapacityGroupRow) -> CapacityGroupSpec:
    """What people wrote."""
    return CapacityGroupSpec.model_validate(
        {
            "tier": row.tier,
            "guarantee": row.guarantee,
            "cap": row.cap,
            "weight": row.weight,
            "owner": row.owner,
        }
    )


def for_engine(session: Session) -> tuple[CapacityGroup, ...]:
    """All groups as the engine reads them, without what they use."""
    return tuple(group_of(row.name, spec_of(row)) for row in listing(session))


def put(
    session: Session, name: str, change: CapacityGroupChange, *, now: datetime
) -> CapacityGroupRow:
    """Let the group be as ``change`` says; one that is so already stays as it is.

    Raises:
        Conflict: it has another revision than expected, or was changed at the same moment.
    """
    row = session.get(CapacityGroupRow, name)
    _expect(name, row, change.revision)
    wanted = CapacityGroupSpec.model_validate(
        change.model_dump(include=set(CapacityGroupSpec.model_fields))
    )
    before = None if row is None else spec_of(row)
    if row is not None and before == wanted:
        return row
    values = {**_columns(wanted), "by": change.by, "reason": change.reason, "updated_at": now}
    if row is None:
        fresh = {"name": name, "revision": 1, "created_at": now, **values}
        written = add_new(session, CapacityGroupRow, [fresh], key=["name"])
    else:
        written = _swap(session, row, {"revision": row.revision + 1, **values})
    if not written:
        raise _changed_meanwhile(name)
    _tell(session, name, change, before, wanted, now)
    session.expire_all()
    return get(session, name)


def remove(session: Session, name: str, removal: Removal, *, now: datetime) -> None:
    """Remove a group that nothing counts to.

    Raises:
        NotFound: there is none of that name.
        Conflict: it is the default group, is in use, or has another revision.
    """
    row = get(session, name)
    _expect(name, row, removal.revision)
    if name == DEFAULT_GROUP:
        raise Conflict(f"{name} is the group of all that names none: it cannot be removed")
    _refuse_in_use(session, name)
    this = (col(CapacityGroupRow.name) == name, col(CapacityGroupRow.revision) == row.revision)
    if not session.connection().execute(delete(CapacityGroupRow).where(*this)).rowcount:
        raise _changed_meanwhile(name)
    data = {"by": removal.by, "reason": removal.reason, "before": _columns(spec_of(row))}
    message = f"removed{_words(removal.by, removal.reason)}"
    events.append(session, f"capacity-group/{name}", "removed", message, at=now, data=data)


def _refuse_in_use(session: Session, name: str) -> None:
    jobs = select_columns(func.count()).where(
        col(JobRow.capacity_group) == name, col(JobRow.finished_at).is_(None)
    )
    services = select_columns(func.count()).where(
        col(ServiceRow.state) != ServiceState.DELETED,
        col(ServiceRevisionRow.service_id) == col(ServiceRow.service_id),
        col(ServiceRevisionRow.number) == col(ServiceRow.revision),
        col(ServiceRevisionRow.spec)["capacity_group"].as_string() == name,
    )
    count = session.connection().execute(jobs).scalar_one()
    members = session.connection().execute(services).scalar_one()
    if count or members:
        raise Conflict(
            f"{count} tasks and batch jobs and {members} services count to the capacity group "
            f"{name}",
            hint=f"fleetwide capacity-group show {name}",
        )


def _expect(name: str, row: CapacityGroupRow | None, expected: int | None) -> None:
    there = 0 if row is None else row.revision
    if expected is not None and expected != there:
        has = f"has revision {there}" if there else "is not there"
        raise Conflict(
            f"capacity group {name} {has}, not revision {expected}: somebody changed it",
            hint=f"fleetwide capacity-group show {name}",
        )


def _changed_meanwhile(name: str) -> Conflict:
    return Conflict(f"capacity group {name} was changed by somebody else at the same moment")


def _columns(spec: CapacityGroupSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_none=True)


def _swap(session: Session, row: CapacityGroupRow, values: dict[str, Any]) -> int:
    this = (col(CapacityGroupRow.name) == row.name, col(CapacityGroupRow.revision) == row.revision)
    statement = update(CapacityGroupRow).where(*this).values(values)
    return session.connection().execute(statement).rowcount


def _tell(
    session: Session,
    name: str,
    change: CapacityGroupChange,
    before: CapacityGroupSpec | None,
    wanted: CapacityGroupSpec,
    now: datetime,
) -> None:
    data = {
        "by": change.by,
        "reason": change.reason,
        "before": None if before is None else _columns(before),
        "after": _columns(wanted),
    }
    kind = "created" if before is None else "changed"
    message = f"{kind}{_words(change.by, change.reason)}"
    events.append(session, f"capacity-group/{name}", kind, message, at=now, data=data)


def _words(by: str, reason: str) -> str:
    return (f" by {by}" if by else "") + (f": {reason}" if reason else "")


def uses(session: Session) -> Uses:
    """What each group uses by now, from the rows."""
    found: dict[str, Use] = {}
    running = (
        select_columns(
            col(JobRow.capacity_group),
            func.count(),
            func.count(col(AttemptRow.preempt_at)),
            *(func.sum(amount) for amount in HELD),
        )
        .where(col(AttemptRow.reserved).is_(True), col(JobRow.id) == col(AttemptRow.job_id))
        .group_by(col(JobRow.capacity_group))
    )
    for name, count, leaving, *amounts in session.connection().execute(running):
        found[name] = Use(tuple(map(int, amounts)), running=count, leaving=leaving)
    waiting = (
        select_columns(col(JobRow.capacity_group), func.count())
        .where(
            col(AttemptRow.state) == TaskState.ACCEPTED, col(JobRow.id) == col(AttemptRow.job_id)
        )
        .group_by(col(JobRow.capacity_group))
    )
    for name, count in session.connection().execute(waiting):
        found.setdefault(name, Use()).waiting = count
    return Uses(room(session), found)


def room(session: Session) -> Room:
    """What hosts that take work have, and what of it is not reserved."""
    whole, free = [0] * len(Dimension), [0] * len(Dimension)
    query = select(HostRow).where(col(HostRow.state).in_(TAKES_WORK))
    rows = session.exec(query).all()
    taken = _taken(session)
    for row in rows:
        disk = UNCOUNTED if row.disk_bytes is None else row.disk_bytes
        network = UNCOUNTED if row.network_mbps is None else row.network_mbps
        has = (row.cpu_milli, row.memory_bytes, disk, network, len(row.gpus))
        here = taken.get(row.host_id, (0,) * len(Dimension))
        for each, amount in enumerate(has):
            whole[each] += amount
            free[each] += max(amount - here[each], 0)
    return Room(tuple(whole), tuple(free))


def _taken(session: Session) -> dict[str, Vector]:
    query = (
        select_columns(col(AttemptRow.host_id), *(func.sum(amount) for amount in HELD))
        .where(col(AttemptRow.reserved).is_(True))
        .group_by(col(AttemptRow.host_id))
    )
    rows = session.connection().execute(query)
    return {str(host_id): tuple(map(int, amounts)) for host_id, *amounts in rows}

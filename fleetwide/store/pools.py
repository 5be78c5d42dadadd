"""Pools of hosts in SQL: what is wanted of each, its machines, and what the fleet says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleetwide.containers.placement import Amounts, Move, Request, Shape
from fleetwide.errors import Conflict, NotFound
from fleetwide.models.bakes import BakedImage
from fleetwide.models.hosts import TAKES_WORK, HostState
from fleetwide.models.pools import (
    END_SENTENCE,
    HostPoolSpec,
    Machine,
    MachineState,
    PoolDrain,
    PoolEnd,
    PoolMachine,
    PoolTurn,
)
from fleetwide.store import channels, events, hosts
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.pool_tables import HostPoolRow, PoolMachineRow
from fleetwide.store.tables import AttemptRow, HostRow, ImageRow

LISTED_AFTER = timedelta(minutes=2)
"""EC2 may not list a new instance at once, nor say at once that one ends."""
IDS_AT_ONCE = 500
ACTIVE, DELETING, DELETED = "Active", "Deleting", "Deleted"


def ensure(session: Session, turn: PoolTurn, *, now: datetime) -> HostPoolRow:
    """The pool's row with what is wanted of it now; one event for each change of its size."""
    name = turn.spec.name
    row = session.get(HostPoolRow, name)
    wanted = turn.spec.model_dump(mode="json")
    state = DELETING if turn.deleting else ACTIVE
    if row is not None and row.run_id == turn.run_id and _is_of_before(row, turn):
        raise Conflict(f"pool {name} is {row.state.lower()}: this look is of before")
    if row is None or (row.run_id != turn.run_id and row.state == DELETED):
        row = row or HostPoolRow(
            name=name,
            workflow_id=turn.workflow_id,
            run_id=turn.run_id,
            state=state,
            spec=wanted,
            created_at=now,
            updated_at=now,
        )
        row.failures, row.failed_at, row.quiet_since = 0, None, None
        _tell(session, name, "created", f"pool {_size(turn.spec)}", now)
    elif HostPoolSpec.model_validate(row.spec) != turn.spec:
        _tell(session, name, "resized", f"pool {_size(turn.spec)}", now)
    row.workflow_id, row.run_id = turn.workflow_id, turn.run_id
    if (row.state, row.spec) != (state, wanted):
        row.state, row.spec, row.updated_at = state, wanted, now
    session.add(row)
    return row


def _is_of_before(row: HostPoolRow, turn: PoolTurn) -> bool:
    """Whether a look began before people wanted the pool deleted, and ends afterwards."""
    return row.state == DELETED or (row.state == DELETING and not turn.deleting)


def _size(spec: HostPoolSpec) -> str:
    return f"wants {spec.desired} machines, at least {spec.min}, at most {spec.max}"


def note(session: Session, name: str, message: str, *, now: datetime) -> None:
    """Say what the pool did last, or what keeps it from doing it; an event when it is news."""
    row = session.get(HostPoolRow, name)
    if row is None or row.message == message:
        return
    row.message, row.updated_at = message, now
    session.add(row)
    if message:
        _tell(session, name, "told", message, now)


def gone(session: Session, name: str, *, now: datetime) -> None:
    """The pool was deleted, and has no machines any more."""
    row = session.get(HostPoolRow, name)
    if row is not None and row.state != DELETED:
        row.state, row.message, row.updated_at = DELETED, "", now
        session.add(row)
        _tell(session, name, "deleted", "pool is deleted", now)


def launched(session: Session, pool: str, machines: Sequence[Machine], *, now: datetime) -> None:
    """Book machines that the provider started; those that are known stay as they are."""
    known = {row.machine_id for row in _rows(session, [one.id for one in machines])}
    for one in machines:
        if one.id not in known:
            session.add(
                PoolMachineRow(
                    machine_id=one.id,
                    pool=pool,
                    type=one.type,
                    zone=one.zone,
                    image=one.image,
                    # Its host joins later by our clock, which may be behind the provider's.
                    launched_at=min(one.launched_at, now),
                )
            )
            _tell(session, pool, "launched", f"started {one.id}, a {one.type}", now, one.id)


def drains(session: Session, request: PoolDrain, *, now: datetime) -> None:
    """Book that the pool has asked machines to be emptied."""
    for row in _rows(session, request.machines):
        if row.draining and (row.hurried or not request.hurry):
            continue
        row.draining, row.hurried = True, request.hurry
        session.add(row)
        told = f"empties {row.machine_id}: {request.reason}"
        _tell(session, request.pool, "draining", told, now, row.machine_id)


def ended(
    session: Session, pool: str, machines: Sequence[str], end: PoolEnd, *, now: datetime
) -> None:
    """Book the end of machines, and count those in a row that never joined the fleet."""
    for row in _rows(session, machines):
        if row.ended_at is not None:
            continue
        row.ended_at, row.end = now, end
        session.add(row)
        _tell(
            session,
            pool,
            "ended",
            f"{row.machine_id} ended: {END_SENTENCE[end]}",
            now,
            row.machine_id,
        )
        own = session.get(HostPoolRow, pool)
        if end is PoolEnd.NEVER_REGISTERED and own is not None:
            own.failures, own.failed_at = own.failures + 1, now
            session.add(own)


def _rows(session: Session, machines: Sequence[str]) -> Sequence[PoolMachineRow]:
    found: list[PoolMachineRow] = []
    for first in range(0, len(machines), IDS_AT_ONCE):
        some = machines[first : first + IDS_AT_ONCE]
        query = select(PoolMachineRow).where(col(PoolMachineRow.machine_id).in_(some))
        found += session.exec(query.order_by(PoolMachineRow.machine_id))
    return found


def observed(
    session: Session, pool: HostPoolRow, machines: Sequence[Machine], *, now: datetime
) -> list[PoolMachine]:
    """The provider's machines with their hosts; books who joined, who is new and who vanished."""
    launched(session, pool.name, machines, now=now)
    session.flush()
    query = select(PoolMachineRow).where(
        PoolMachineRow.pool == pool.name, col(PoolMachineRow.ended_at).is_(None)
    )
    known = {row.machine_id: row for row in session.exec(query)}
    there = {one.id for one in machines}
    missing = [row for row in known.values() if row.machine_id not in there]
    _reopen(session, known, [one.id for one in machines], now)
    by_id = _hosts(session, [*known])
    taken = hosts.taken(session)
    found = []
    for one in (*machines, *(_unlisted(row, now) for row in missing)):
        row, host = known.get(one.id), by_id.get(one.id)
        if row is None:
            continue  # its end is booked; the provider has not noticed yet
        joined = host is not None and host.registered_at >= row.launched_at
        if joined and row.joined_at is None:
            row.joined_at, pool.failures = now, 0
            session.add(row)
            session.add(pool)
        if row.draining and joined and host is not None and host.state in TAKES_WORK:
            row.draining = row.hurried = False  # somebody has decided otherwise
            session.add(row)
        found.append(
            PoolMachine(
                machine=one,
                host_state=HostState(host.state) if host is not None and joined else None,
                tasks=taken[one.id].tasks if one.id in taken else 0,
                draining=row.draining,
                hurried=row.hurried,
            )
        )
    return found


def _reopen(
    session: Session, known: dict[str, PoolMachineRow], listed: list[str], now: datetime
) -> None:
    """Machines whose end is booked and that are there all the same: it did not come to pass."""
    for row in _rows(session, [one for one in listed if one not in known]):
        if row.ended_at is not None and now - row.ended_at > LISTED_AFTER:
            row.ended_at = row.end = None
            session.add(row)
            known[row.machine_id] = row


def _hosts(session: Session, host_ids: Sequence[str]) -> dict[str, HostRow]:
    found: dict[str, HostRow] = {}
    for first in range(0, len(host_ids), IDS_AT_ONCE):
        some = host_ids[first : first + IDS_AT_ONCE]
        query = select(HostRow).where(col(HostRow.host_id).in_(some))
        found |= {row.host_id: row for row in session.exec(query)}
    return found


def _unlisted(row: PoolMachineRow, now: datetime) -> Machine:
    """A machine that the provider does not list: gone, or so new that it may not list it yet."""
    new = now - row.launched_at <= LISTED_AFTER
    return Machine(
        id=row.machine_id,
        type=row.type,
        state=MachineState.PENDING if new else MachineState.GONE,
        image=row.image,
        zone=row.zone,
        launched_at=row.launched_at,
    )


def moves(session: Session, machines: Sequence[str], others: Sequence[str]) -> list[Move]:
    """What would have to move to empty each machine; ``others`` are hosts that stay as they are."""
    query = (
        select(AttemptRow.id, AttemptRow.job_id, AttemptRow.host_id)
        .where(col(AttemptRow.reserved).is_(True), col(AttemptRow.host_id).in_(machines))
        .order_by(col(AttemptRow.id))
    )
    rows = session.exec(query).all()
    shapes = JobShapes().of(session, {job_id for _, job_id, _ in rows})
    found = [
        Move(Request(attempt_id or 0, shapes[job_id].shape, shapes[job_id].name), host_id or "")
        for attempt_id, job_id, host_id in rows
    ]
    stay = Request(0, Shape(Amounts()))
    return [*found, *(Move(stay, host_id, movable=False) for host_id in others)]


def image_for(session: Session, name: str, base: str, region: str) -> str:
    """The AMI of the newest image of that name that is made on an OS release.

    Raises:
        NotFound: there is none in the region.
    """
    line, _, wanted = base.partition(":")
    channel = channels.get(session, line, wanted)
    version = channel.version if channel else wanted
    query = (
        select(ImageRow)
        .where(ImageRow.name == name, ImageRow.base_name == line, ImageRow.base_version == version)
        .order_by(col(ImageRow.created_at).desc())
    )
    for row in session.exec(query):
        for ami in BakedImage.model_validate(row.image).amis:
            if ami.region == region:
                return ami.image_id
    raise NotFound(
        f"no image {name} on {line}:{version} has an AMI in {region}",
        hint=f"fleetwide image list --name {name}",
    )


def get(session: Session, name: str) -> HostPoolRow:
    """The pool.

    Raises:
        NotFound: there is none of that name.
    """
    row = session.get(HostPoolRow, name)
    if row is None:
        raise NotFound(f"there is no host pool {name}", hint="fleetwide pool list")
    return row


def listing(session: Session) -> Sequence[HostPoolRow]:
    """All pools that are not deleted, by name."""
    query = select(HostPoolRow).where(HostPoolRow.state != DELETED)
    return session.exec(query.order_by(HostPoolRow.name)).all()


@dataclass(frozen=True)
class ListedMachine:
    """A machine of a pool with its host's state, if it has one."""

    row: PoolMachineRow
    host_state: str | None


def machines_of(session: Session, pool: str, *, ended_too: int = 20) -> list[ListedMachine]:
    """The machines of a pool, the newest first, with the last ones that ended."""
    here = col(PoolMachineRow.ended_at).is_(None)
    newest = col(PoolMachineRow.launched_at).desc()
    own = select(PoolMachineRow).where(PoolMachineRow.pool == pool)
    live = session.exec(own.where(here).order_by(newest)).all()
    over = session.exec(
        own.where(~here).order_by(col(PoolMachineRow.ended_at).desc()).limit(ended_too)
    ).all()
    by_id = _hosts(session, [row.machine_id for row in (*live, *over)])
    found = []
    for row in (*live, *over):
        host = by_id.get(row.machine_id)
        joined = row.joined_at is not None and host is not None
        found.append(ListedMachine(row, host.state if joined and host is not None else None))
    return found


def _tell(
    session: Session, pool: str, kind: str, message: str, now: datetime, machine: str | None = None
) -> None:
    data = {"machine": machine} if machine else {}
    events.append(session, f"pool/{pool}", kind, message, at=now, data=data)

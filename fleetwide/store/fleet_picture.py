"""Hosts and who is on them, as the rows tell: all of them, or those that somebody names."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.containers.placement import (
    UNCOUNTED,
    Amounts,
    Host,
    Lifecycle,
    Occupant,
    Shape,
    quality,
    traits_of,
)
from fleetwide.models.hosts import TAKES_WORK
from fleetwide.store import grants, host_quality
from fleetwide.store.grants import Held
from fleetwide.store.host_tables import HostImageRow
from fleetwide.store.job_shapes import JobShape, JobShapes
from fleetwide.store.kept_usage import GroupUse, Vector, added
from fleetwide.store.tables import AttemptRow, HostRow

IDS_AT_ONCE = 500
# Resources that attempts hold, in the order of ``Amounts``.
_HELD = (
    col(AttemptRow.cpu_milli),
    col(AttemptRow.memory_bytes),
    col(AttemptRow.disk_bytes),
    col(AttemptRow.network_mbps),
    col(AttemptRow.gpus),
)
_THERE = (
    select_columns(
        col(AttemptRow.host_id),
        col(AttemptRow.job_id),
        func.count(),
        *(func.sum(amount) for amount in _HELD),
    )
    .where(col(AttemptRow.reserved).is_(True))
    .group_by(col(AttemptRow.host_id), col(AttemptRow.job_id))
)


@dataclass(frozen=True)
class Pictured:
    """A host that takes work, and who is on it."""

    host: Host
    occupants: tuple[Occupant, ...]


@dataclass
class Picture:
    """Hosts that take work, and what the groups hold of all hosts that were asked for."""

    hosts: list[Pictured] = field(default_factory=list)
    usage: dict[str, GroupUse] = field(default_factory=dict)
    """By host, also of those that take no work."""


@dataclass
class _There:
    """What live attempts hold of one host."""

    jobs: list[tuple[int, int, Vector]] = field(default_factory=list)
    """Job ids, how many attempts of each, and what these hold."""

    @property
    def amounts(self) -> Vector:
        """What all of them hold."""
        nothing = (0,) * len(_HELD)
        return added(nothing, *(held for _, _, held in self.jobs))

    def by_group(self, jobs: Mapping[int, JobShape]) -> dict[str, Vector]:
        """The same, apart for each capacity group."""
        found: dict[str, Vector] = {}
        for job_id, _, held in self.jobs:
            group = jobs[job_id].group
            before = found.get(group)
            found[group] = held if before is None else added(before, held)
        return found


@dataclass(frozen=True)
class _Rows:
    """All that is known of some hosts beside their own rows."""

    there: dict[str, _There]
    held: dict[str, Held]
    images: dict[str, frozenset[str]]
    faults: dict[str, int]


def all_hosts(
    session: Session, shapes: JobShapes, images: Collection[str], *, now: datetime
) -> Picture:
    """Every host that takes work. Of the images that it holds only the named ones are told."""
    return _pictures(session, shapes, images, None, now)


def some_hosts(
    session: Session,
    shapes: JobShapes,
    images: Collection[str],
    host_ids: Collection[str],
    *,
    now: datetime,
) -> Picture:
    """Those of the named hosts that take work."""
    whole = Picture()
    ids = sorted(host_ids)
    for first in range(0, len(ids), IDS_AT_ONCE):
        some = _pictures(session, shapes, images, ids[first : first + IDS_AT_ONCE], now)
        whole.hosts += some.hosts
        whole.usage |= some.usage
    return whole


def versions(session: Session) -> dict[str, int]:
    """Host id to version, of all hosts that take work."""
    query = select_columns(col(HostRow.host_id), col(HostRow.version)).where(
        col(HostRow.state).in_(TAKES_WORK)
    )
    rows = session.connection().execute(query)
    return {str(host_id): int(version) for host_id, version in rows}


def _pictures(
    session: Session,
    shapes: JobShapes,
    images: Collection[str],
    only: Sequence[str] | None,
    now: datetime,
) -> Picture:
    query = select(HostRow).where(col(HostRow.state).in_(TAKES_WORK))
    if only is not None:
        query = query.where(col(HostRow.host_id).in_(only))
    rows = session.exec(query.order_by(HostRow.host_id)).all()
    there = _there(session, only)
    known = _Rows(
        there,
        grants.held(session, only),
        _images(session, images, only),
        host_quality.faults(session, now=now),
    )
    job_ids = {job_id for each in there.values() for job_id, _, _ in each.jobs}
    named = shapes.of(session, job_ids)
    usage = {host_id: each.by_group(named) for host_id, each in there.items()}
    found: list[Pictured] = []
    for row in rows:
        here = there.get(row.host_id, _There())
        jobs = ((named[job_id], count) for job_id, count, _ in here.jobs)
        occupants = (Occupant(row.host_id, job.shape, job.name, count) for job, count in jobs)
        ports = _port_holders(row.host_id, known.held)
        found.append(Pictured(_host(row, here, known), (*occupants, *ports)))
    return Picture(found, dict(usage))


def _there(session: Session, only: Sequence[str] | None) -> dict[str, _There]:
    query = _THERE if only is None else _THERE.where(col(AttemptRow.host_id).in_(only))
    found: dict[str, _There] = {}
    for host_id, job_id, count, *amounts in session.connection().execute(query):
        there = found.setdefault(str(host_id), _There())
        there.jobs.append((job_id, count, tuple(map(int, amounts))))
    return found


def _images(
    session: Session, wanted: Collection[str], only: Sequence[str] | None
) -> dict[str, frozenset[str]]:
    """Host id to those of the wanted images that it holds."""
    query = select_columns(col(HostImageRow.host_id), col(HostImageRow.digest))
    query = query.where(col(HostImageRow.digest).in_(sorted(each for each in wanted if each)))
    if only is not None:
        query = query.where(col(HostImageRow.host_id).in_(only))
    found: dict[str, set[str]] = {}
    for host_id, digest in session.connection().execute(query):
        found.setdefault(host_id, set()).add(digest)
    return {host_id: frozenset(there) for host_id, there in found.items()}


def _port_holders(host_id: str, held: dict[str, Held]) -> Iterator[Occupant]:
    """Stands for all ports in use on a host, also those that were chosen for tasks."""
    there = held.get(host_id)
    if there is not None and there.ports:
        yield Occupant(host_id, Shape(Amounts(), ports=frozenset(there.ports)), "")


def _host(row: HostRow, there: _There, known: _Rows) -> Host:
    held = known.held.get(row.host_id, Held())
    devices = grants.free_devices(row.gpus, held)
    disk = UNCOUNTED if row.disk_bytes is None else row.disk_bytes
    network = UNCOUNTED if row.network_mbps is None else row.network_mbps
    cpu_taken, memory_taken, disk_taken, network_taken, _ = there.amounts
    free_disk = disk - disk_taken
    if row.pressure:
        free_disk = min(free_disk, 0)  # every task needs some
    return Host(
        host_id=row.host_id,
        total=Amounts(row.cpu_milli, row.memory_bytes, disk, network, len(row.gpus)),
        free=Amounts(
            row.cpu_milli - cpu_taken,
            row.memory_bytes - memory_taken,
            free_disk,
            network - network_taken,
            len(devices),
        ),
        version=row.version,
        traits=replace(traits_of(row.labels), lifecycle=Lifecycle(row.state)),
        quality=quality(known.faults.get(row.host_id, 0)),
        images=known.images.get(row.host_id, frozenset()),
        tasks=sum(count for _, count, _ in there.jobs),
        free_gpus=devices,
        free_ports=grants.free_ports(row.first_port, row.last_port, held),
    )

"""Devices and ports of hosts: single things, which one attempt has and no other.

Who gives them away has claimed the host's version in the same transaction.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from sqlalchemy import String, cast
from sqlmodel import Session, col, or_, select

from fleetwide.containers.placement import Decision
from fleetwide.models.placement import StoredJob
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

# A port that a task was refused by another program should not be the next task's first choice.
PORT_STEP = 61


@dataclass
class Held:
    """What live attempts hold of one host."""

    devices: set[str] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Grant:
    """What one attempt gets of its host."""

    devices: list[str]
    ports: dict[str, int]


NOTHING = Grant([], {})


def held(session: Session, host_ids: Iterable[str] | None = None) -> dict[str, Held]:
    """Host id to the devices and ports in use there; hosts where nothing is are left out."""
    query = select(AttemptRow.host_id, AttemptRow.devices, AttemptRow.ports).where(
        col(AttemptRow.reserved).is_(True),
        or_(
            cast(col(AttemptRow.devices), String) != "[]",
            cast(col(AttemptRow.ports), String) != "{}",
        ),
    )
    if host_ids is not None:
        query = query.where(col(AttemptRow.host_id).in_(list(host_ids)))
    found: dict[str, Held] = {}
    for host_id, devices, ports in session.exec(query):
        there = found.setdefault(str(host_id), Held())
        there.devices.update(devices)
        there.ports.update(ports.values())
    return found


def free_devices(gpus: list[str], there: Held) -> tuple[int, ...]:
    """The places of the devices that nobody has."""
    return tuple(place for place, name in enumerate(gpus) if name not in there.devices)


def free_ports(first: int, last: int, there: Held) -> int:
    """How many ports of a host's range nobody has."""
    return last - first + 1 - sum(first <= port <= last for port in there.ports)


def give(session: Session, host_id: str, decisions: list[Decision]) -> Iterator[tuple[int, Grant]]:
    """What each decided attempt gets of the host; those for whom something is missing are not told.

    A port is missing when the tick gave away more than there are: the attempts wait, and the next
    snapshot knows why.
    """
    if not decisions:
        return
    host = session.get(HostRow, host_id)
    assert host is not None
    there = held(session, [host_id]).get(host_id, Held())
    wishes = port_wishes(session, [decision.request_id for decision in decisions])
    for decision in decisions:
        devices = choose_devices(decision.gpus, host, there)
        if devices is None:
            continue
        ports = choose_ports(wishes[decision.request_id], host, there, decision.request_id)
        if ports is None:
            there.devices.difference_update(devices)
            continue
        yield decision.request_id, Grant(devices, ports)


def port_wishes(session: Session, attempt_ids: list[int]) -> dict[int, dict[str, int | None]]:
    """Attempt id to the ports that it wants, by name; None for any."""
    query = (
        select(AttemptRow.id, JobRow.spec)
        .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
        .where(col(AttemptRow.id).in_(attempt_ids))
    )
    return {
        int(attempt_id or 0): {
            name: port.static
            for name, port in StoredJob.model_validate(spec).container.resources.ports.items()
        }
        for attempt_id, spec in session.exec(query)
    }


def choose_ports(
    wanted: Mapping[str, int | None], host: HostRow, there: Held, seed: int
) -> dict[str, int] | None:
    """Ports of a host for one attempt, which holds them from then on; None when some are missing.

    ``seed`` says where the search begins, so that not everybody tries the same port first.
    """
    fixed = {name: port for name, port in wanted.items() if port is not None}
    if not there.ports.isdisjoint(fixed.values()):
        return None
    taken = there.ports | set(fixed.values())
    chosen = dict(fixed)
    for name in wanted.keys() - fixed.keys():
        port = _next_free(host.first_port, host.last_port, taken, seed)
        if port is None:
            return None
        chosen[name] = port
        taken.add(port)
    there.ports |= set(chosen.values())
    return chosen


def _next_free(first: int, last: int, taken: AbstractSet[int], seed: int) -> int | None:
    size = last - first + 1
    for step in range(size):
        port = first + (seed * PORT_STEP + step) % size
        if port not in taken:
            return port
    return None


def choose_devices(places: tuple[int, ...], host: HostRow, there: Held) -> list[str] | None:
    """The devices at these places of a host; None when one of them is taken, or gone."""
    if any(place >= len(host.gpus) for place in places):
        return None
    devices = [host.gpus[place] for place in places]
    if not there.devices.isdisjoint(devices):
        return None
    there.devices.update(devices)
    return devices

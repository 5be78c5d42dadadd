"""Container hosts and what of them is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.models.hosts import ANSWERS, HostFacts, HostSpec, HostState
from fleetwide.models.task_states import TaskState
from fleetwide.store import attempt_states, events
from fleetwide.store.tables import AttemptRow, HostRow


def register(
    session: Session,
    spec: HostSpec,
    facts: HostFacts | None = None,
    *,
    state: HostState = HostState.ACTIVE,
    now: datetime,
) -> HostRow:
    """Insert or refresh the host's row and make it take work, or whatever ``state`` says.

    What the spec leaves open is what the machine reports of itself.
    """
    row = find_locked(session, spec.host_id) or HostRow(
        host_id=spec.host_id,
        state=HostState.ACTIVE,
        cpu_milli=0,
        memory_bytes=0,
        registered_at=now,
        seen_at=now,
    )
    row.cpu_milli = round(spec.cpu * 1000)
    row.memory_bytes = int(spec.memory)
    row.first_port, row.last_port = spec.first_port, spec.last_port
    row.disk_bytes, row.network_mbps, row.gpus = spec.disk, spec.network, spec.gpus or []
    row.labels = spec.labels
    if facts is not None:
        _complete(row, spec, facts)
    row.seen_at = now
    session.add(row)
    set_state(session, row, state, now=now)
    return row


def find_locked(session: Session, host_id: str) -> HostRow | None:
    """The host as it is now; nobody else changes it until the transaction ends."""
    return session.get(HostRow, host_id, with_for_update={"key_share": True})


def _complete(row: HostRow, spec: HostSpec, facts: HostFacts) -> None:
    row.docker_version = facts.docker_version
    row.machine = facts.model_dump(mode="json")
    row.labels = {**facts.labels, **spec.labels}
    row.disk_bytes = facts.disk_offered if spec.disk is None else spec.disk
    row.network_mbps = facts.network_offered if spec.network is None else spec.network
    row.gpus = facts.gpus if spec.gpus is None else spec.gpus


def set_state(session: Session, row: HostRow, state: HostState, *, now: datetime) -> None:
    """Change whether the host takes work; raises its version so that no plan in flight wins.

    The row is one that ``find_locked`` gave: else what others change at the same time is lost.
    """
    if row.state != state or row.version == 1:
        events.append(session, f"host/{row.host_id}", "state", f"host is {state}", at=now)
    if state not in ANSWERS:
        attempt_states.host_is_silent(session, row.host_id, now=now)
    elif row.state not in ANSWERS:
        attempt_states.host_is_back(session, row.host_id, now=now)
    row.state = state
    row.version += 1
    session.add(row)


def seen(session: Session, host_ids: list[str], *, now: datetime) -> None:
    """Remember when the hosts last reported."""
    session.exec(update(HostRow).where(col(HostRow.host_id).in_(host_ids)).values(seen_at=now))


def pressed(session: Session) -> set[str]:
    """The hosts that have said that they have no room."""
    return set(session.exec(select(HostRow.host_id).where(HostRow.pressure != "")))


def press(session: Session, host_id: str, pressure: str, *, now: datetime) -> None:
    """Note what a host says of its room; an event when it begins to press, and when that is over.

    Its version rises, so that no plan in flight places anything on it.
    """
    row = find_locked(session, host_id)
    if row is None or bool(row.pressure) == bool(pressure):
        return
    kind = "diskPressure" if pressure else "diskPressureOver"
    message = pressure or "there is room on the disk again"
    events.append(session, f"host/{host_id}", kind, message, at=now)
    row.pressure = pressure
    row.version += 1
    session.add(row)


def starting(session: Session) -> set[str]:
    """The hosts on which something was placed that has not started yet, as far as is known."""
    query = select(AttemptRow.host_id).where(
        col(AttemptRow.state).in_([TaskState.LAUNCHED, TaskState.START_INITIATED])
    )
    return {str(host_id) for host_id in session.exec(query.distinct())}


def listing(session: Session) -> Sequence[HostRow]:
    """All hosts, by id."""
    return session.exec(select(HostRow).order_by(HostRow.host_id)).all()


@dataclass(frozen=True)
class Taken:
    """What live attempts hold of a host."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    network_mbps: int = 0
    tasks: int = 0


def reserved(session: Session) -> dict[str, tuple[int, int]]:
    """Host id to the (milli-CPU, bytes) that live attempts hold there."""
    return {host: (each.cpu_milli, each.memory_bytes) for host, each in taken(session).items()}


def taken(session: Session) -> dict[str, Taken]:
    """Host id to all that live attempts hold there."""
    query = (
        select_columns(
            col(AttemptRow.host_id),
            func.sum(col(AttemptRow.cpu_milli)),
            func.sum(col(AttemptRow.memory_bytes)),
            func.sum(col(AttemptRow.disk_bytes)),
            func.sum(col(AttemptRow.network_mbps)),
            func.count(),
        )
        .where(col(AttemptRow.reserved).is_(True))
        .group_by(col(AttemptRow.host_id))
    )
    return {
        str(host): Taken(int(cpu), int(memory), int(disk), int(network), tasks)
        for host, cpu, memory, disk, network, tasks in session.connection().execute(query)
    }

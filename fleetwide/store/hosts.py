"""Container hosts and what of them is taken."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from fleetwide.models.containers import HostSpec, HostState
from fleetwide.store import events
from fleetwide.store.tables import AttemptRow, HostRow


def register(
    session: Session, spec: HostSpec, *, docker_version: str = "", now: datetime
) -> HostRow:
    """Insert or refresh the host's row and make it take work."""
    row = session.get(HostRow, spec.host_id) or HostRow(
        host_id=spec.host_id,
        state=HostState.ACTIVE,
        cpu_milli=0,
        memory_bytes=0,
        registered_at=now,
        seen_at=now,
    )
    row.cpu_milli = round(spec.cpu * 1000)
    row.memory_bytes = int(spec.memory)
    row.labels = spec.labels
    row.docker_version = docker_version or row.docker_version
    row.seen_at = now
    session.add(row)
    set_state(session, row, HostState.ACTIVE, now=now)
    return row


def set_state(session: Session, row: HostRow, state: HostState, *, now: datetime) -> None:
    """Change whether the host takes work; raises its version so that no plan in flight wins."""
    if row.state != state or row.version == 1:
        events.append(session, f"host/{row.host_id}", "state", f"host is {state}", at=now)
    row.state = state
    row.version += 1
    session.add(row)


def seen(session: Session, host_id: str, *, now: datetime) -> None:
    """Remember when the host last reported."""
    session.exec(update(HostRow).where(col(HostRow.host_id) == host_id).values(seen_at=now))


def listing(session: Session) -> Sequence[HostRow]:
    """All hosts, by id."""
    return session.exec(select(HostRow).order_by(HostRow.host_id)).all()


def reserved(session: Session) -> dict[str, tuple[int, int]]:
    """Host id to the (milli-CPU, bytes) that live attempts hold there."""
    query = (
        select(
            AttemptRow.host_id,
            func.sum(AttemptRow.cpu_milli),
            func.sum(AttemptRow.memory_bytes),
        )
        .where(col(AttemptRow.reserved).is_(True))
        .group_by(col(AttemptRow.host_id))
    )
    return {str(host): (int(cpu), int(memory)) for host, cpu, memory in session.exec(query)}

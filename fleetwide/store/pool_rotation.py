"""Machines of a pool that are to be replaced, in SQL; what runs on the next ones is told ahead."""

from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from fleetwide.models.disturbances import Cause
from fleetwide.models.task_states import TaskState
from fleetwide.store import clock, disruptions, relocations
from fleetwide.store.disruption_gates import Demand
from fleetwide.store.disruption_tables import RelocationRow
from fleetwide.store.pool_tables import PoolMachineRow
from fleetwide.store.tables import AttemptRow


def note(session: Session, pool: str, due: Mapping[str, str]) -> None:
    """Write down why each machine is to be replaced; ``due`` by machine.

    Of one that is not due any more the plans go. One that is being emptied goes on, and keeps why.
    """
    query = select(PoolMachineRow).where(
        PoolMachineRow.pool == pool, col(PoolMachineRow.ended_at).is_(None)
    )
    for row in session.exec(query):
        why = due.get(row.machine_id, "")
        if why == row.rotates or row.draining:
            continue
        if not why:
            relocations.forget_host(session, row.machine_id)
        row.rotates = why
        session.add(row)


def announce(session: Session, hosts: Sequence[str], *, by: str, reason: str) -> None:
    """Publish the plan of what runs on hosts that are replaced next; nothing is moved yet.

    The time that owners have begins with it. Whoever was told already is not told again.
    """
    query = (
        select(AttemptRow.id)
        .outerjoin(RelocationRow, col(RelocationRow.attempt_id) == AttemptRow.id)
        .where(
            col(AttemptRow.host_id).in_(hosts),
            col(AttemptRow.reserved).is_(True),
            col(AttemptRow.state).not_in([TaskState.KILL_INITIATED, TaskState.FINISHED]),
            col(RelocationRow.attempt_id).is_(None),
        )
    )
    numbers = sorted(number for number in session.exec(query) if number is not None)
    if numbers:
        demand = Demand(Cause.ROTATION, by, clock.now(session), reason, most=0)
        disruptions.answer(session, disruptions.disturbed(session, numbers), demand)

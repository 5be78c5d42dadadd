"""Somebody ends a task that is a copy: its load balancers let go of it first."""

from datetime import datetime

from sqlmodel import Session

from fleetwide.models.service_documents import ServiceState
from fleetwide.models.service_moves import CopyStop
from fleetwide.models.service_turns import CopyKill
from fleetwide.models.task_states import EndReason
from fleetwide.services.reconcile import Stopping
from fleetwide.store import service_copies, service_history, services
from fleetwide.store.service_history import Deed
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRow


def order(session: Session, asked: CopyKill, now: datetime) -> bool:
    """Write down that a copy is to stop; whether its service will tell it so, once it may.

    What is left of a service that is gone, or not known, has nobody who would.
    """
    found = _locked(session, asked.task_id)
    if found is None:
        return False
    service, row = found
    with service_history.once(session, service.service_id, asked.change_id) as is_new:
        if is_new and (row.stop is None or asked.kill.now):
            _note(session, service, row, asked, now)
    return not asked.kill.now


def _locked(session: Session, task_id: str) -> tuple[ServiceRow, ServiceCopyRow] | None:
    """The copy that a task is, and its service; one that moves meanwhile is looked for again."""
    while True:
        owner = service_copies.services_of(session, [task_id]).get(task_id)
        service = services.find(session, owner, lock=True) if owner else None
        if service is None or service.state == ServiceState.DELETED:
            return None
        row = service_copies.find(session, task_id)
        if row is not None and row.ended_at is None and row.service_id == owner:
            return service, row


def _note(
    session: Session, service: ServiceRow, row: ServiceCopyRow, asked: CopyKill, now: datetime
) -> None:
    kill = asked.kill
    stop = CopyStop(reason=EndReason.KILLED, message=kill.reason)
    service_copies.order_stops(session, [row], [Stopping(row.task_id, stop)], now=now)
    how = "is killed now" if kill.now else "leaves its load balancers and is killed"
    then = "" if service.state == ServiceState.DELETING else ", another takes its place"
    deed = Deed(
        "kill",
        f"{row.task_id} {how}{then}",
        kill.by,
        kill.reason,
        numbers={"desired": service.desired, "index": row.index},
    )
    service_history.note(session, service.service_id, deed, now=now)

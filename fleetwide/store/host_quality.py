"""The faults of hosts: work goes elsewhere while a host failed a short time ago."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func
from sqlmodel import Session, col, select

from fleetwide.models.task_states import END_TRAITS, EndReason
from fleetwide.store.host_tables import HostFaultRow

REMEMBERED = timedelta(hours=1)


def note(session: Session, host_id: str | None, reason: EndReason, *, at: datetime) -> None:
    """Remember the end of an attempt if it was its host's fault; what is old is forgotten."""
    if host_id is None or not END_TRAITS[reason].hosts_fault:
        return
    session.exec(delete(HostFaultRow).where(col(HostFaultRow.at) <= at - REMEMBERED))
    session.add(HostFaultRow(host_id=host_id, at=at))


def faults(session: Session, *, now: datetime) -> dict[str, int]:
    """Host id to the number of its faults in the last hour; hosts without any are left out."""
    query = (
        select(HostFaultRow.host_id, func.count())
        .where(col(HostFaultRow.at) > now - REMEMBERED)
        .group_by(col(HostFaultRow.host_id))
    )
    return {host_id: int(count) for host_id, count in session.exec(query)}

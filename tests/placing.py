"""A tick on a whole snapshot, for tests that look at what a commit writes."""

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session

from fleetwide.containers.placement import Decision, Snapshot
from fleetwide.store import launches
from fleetwide.store.launches import Committed, Launch


def commit(
    session: Session, planned: Snapshot, decisions: Iterable[Decision], *, now: datetime
) -> Committed:
    """Write decisions that were made on a snapshot."""
    requests = {each.request_id: each for each in planned.requests}
    versions = {host.host_id: host.version for host in planned.fleet.hosts}
    wanted = []
    for number, host_id, gpus in decisions:
        request = requests[number]
        ports = bool(request.shape.ports or request.shape.any_ports)
        wanted.append(Launch(number, host_id, request.job, 0, 1, gpus, ports))
    return launches.commit(session, wanted, versions, now=now)

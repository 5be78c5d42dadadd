"""Where the copies of services are reached, and whether they are well, as SQL knows it now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from fleetwide.models.deploys import DeployState
from fleetwide.models.health import HealthStatus
from fleetwide.models.services import Strategy
from fleetwide.models.task_states import TaskState
from fleetwide.services.deploy_steps import serves
from fleetwide.services.targets import ReachableCopy
from fleetwide.store import targets
from fleetwide.store.service_tables import ServiceRow
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

IDS_AT_ONCE = 500


@dataclass(frozen=True)
class SeenCopy:
    """One copy that is not over."""

    service_id: str
    index: int
    revision: int
    host_id: str
    zone: str
    reach: ReachableCopy


def seen(session: Session, service_ids: Sequence[str]) -> list[SeenCopy]:
    """The copies of these services that have a host and are not over; by service and index."""
    found = list[SeenCopy]()
    for first in range(0, len(service_ids), IDS_AT_ONCE):
        some = service_ids[first : first + IDS_AT_ONCE]
        rows = session.connection().execute(_query(some)).mappings().all()
        leaving = targets.released_of(session, [_task_id(row) for row in rows])
        deploys = _one_at_a_time(session, some)
        found += [_seen(row, leaving, deploys.get(row["service_id"])) for row in rows]
    return found


def _one_at_a_time(session: Session, service_ids: Sequence[str]) -> dict[str, DeployState]:
    """The deploys in which only the copies of one version get requests."""
    strategy: Any = col(ServiceRow.deploy)["strategy"]
    query = select_columns(col(ServiceRow.service_id), col(ServiceRow.deploy)).where(
        col(ServiceRow.service_id).in_(service_ids),
        strategy.as_string() == Strategy.BLUE_GREEN.value,
    )
    rows = session.connection().execute(query)
    return {name: DeployState.model_validate(deploy) for name, deploy in rows}


def _query(service_ids: Sequence[str]) -> Any:
    return (
        select_columns(
            col(JobRow.service_id),
            col(JobRow.copy_index),
            col(JobRow.revision),
            col(JobRow.workflow_id),
            _is_checked().label("is_checked"),
            col(AttemptRow.state),
            col(AttemptRow.health),
            col(AttemptRow.ports),
            col(AttemptRow.host_id),
            _address().label("address"),
            col(HostRow.labels),
        )
        .join(AttemptRow, col(AttemptRow.job_id) == col(JobRow.id))
        .join(HostRow, col(HostRow.host_id) == col(AttemptRow.host_id))
        .where(
            col(JobRow.service_id).in_(service_ids),
            col(JobRow.finished_at).is_(None),
            col(AttemptRow.finished_at).is_(None),
        )
        .order_by(col(JobRow.service_id), col(JobRow.copy_index), col(JobRow.id))
    )


def _address() -> ColumnElement[str]:
    """What the host tells of itself is long; this alone of it is read."""
    machine: Any = col(HostRow.machine)
    address: ColumnElement[str] = machine["address"].as_string()
    return address


def _is_checked() -> ColumnElement[bool]:
    """Whether its container has a health check; JSON's null is none."""
    spec: Any = col(JobRow.spec)
    check: ColumnElement[str] = spec[("container", "health")].as_string()
    return check.is_not(None)


def _task_id(row: Mapping[Any, Any]) -> str:
    return str(row["workflow_id"]).removeprefix("task/")


def _seen(row: Mapping[Any, Any], leaving: set[str], deploy: DeployState | None) -> SeenCopy:
    task_id = _task_id(row)
    is_served = deploy is None or serves(deploy, row["revision"])
    return SeenCopy(
        service_id=row["service_id"],
        index=row["copy_index"],
        revision=row["revision"],
        host_id=row["host_id"],
        zone=row["labels"].get("zone", ""),
        reach=ReachableCopy(
            task_id=task_id,
            healthy=row["state"] == TaskState.STARTED and _is_well(row) and is_served,
            leaving=task_id in leaving or row["state"] == TaskState.KILL_INITIATED,
            address=row["address"] or "",
            ports=row["ports"],
        ),
    )


def _is_well(row: Mapping[Any, Any]) -> bool:
    if not row["is_checked"]:
        return True
    return bool(row["health"]) and row["health"]["status"] == HealthStatus.HEALTHY

"""Jobs and their live attempts as the gate sees them: columns alone, never rows of the session.

So an answer is made from what is committed, whatever a caller's session read before.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, or_, select

from fleetwide.models.task_states import TaskState
from fleetwide.store.among import among
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRevisionRow, ServiceRow
from fleetwide.store.tables import AttemptRow, JobRow

SERVICE = "service/"
_TASK = "task/"


@dataclass(frozen=True)
class Live:
    """An attempt that is not over."""

    attempt_id: int
    job_id: int
    index: int
    attempt: int
    state: str
    health: dict[str, Any] | None
    lineage: dict[str, Any]
    host_id: str | None

    @property
    def ends(self) -> bool:
        """Whether it is being stopped already."""
        return self.state == TaskState.KILL_INITIATED


@dataclass(frozen=True)
class Job:
    """The job of a live attempt."""

    job_id: int
    workflow_id: str
    run_id: str
    kind: str
    service_id: str | None
    copy_index: int | None
    health: dict[str, Any] | None
    """The health check of its container."""
    runtime_limit: float | None
    budget: dict[str, Any] | None

    @property
    def key(self) -> str:
        """What counts as one job: the service of a copy, else the job itself."""
        return f"{SERVICE}{self.service_id}" if self.service_id else self.workflow_id


_SPEC: Any = col(JobRow.spec)
_OF_ATTEMPTS: tuple[Any, ...] = (
    AttemptRow.id,
    AttemptRow.job_id,
    AttemptRow.index,
    AttemptRow.attempt,
    AttemptRow.state,
    AttemptRow.health,
    AttemptRow.lineage,
    AttemptRow.host_id,
)
_OF_JOBS: tuple[Any, ...] = (
    JobRow.id,
    JobRow.workflow_id,
    JobRow.run_id,
    JobRow.kind,
    JobRow.service_id,
    JobRow.copy_index,
    _SPEC["container"]["health"],
    _SPEC["container"]["runtime_limit_seconds"],
    _SPEC["disruption_budget"],
)


@dataclass(frozen=True)
class Service:
    """What a service wants now."""

    desired: int
    budget: dict[str, Any] | None
    leaving: Collection[str]
    """Workflows of copies that it is about to stop."""


def live(session: Session, which: ColumnElement[bool]) -> dict[int, Live]:
    """Attempts that are not over, by number."""
    query = select_columns(*_OF_ATTEMPTS).where(which, col(AttemptRow.state) != TaskState.FINISHED)
    return {row[0]: Live(*row) for row in session.connection().execute(query)}


def own_jobs(session: Session, job_ids: Collection[int]) -> dict[int, Job]:
    """These jobs, by number."""
    return _jobs(session, among(session, JobRow.id, sorted(job_ids)))


def jobs(session: Session, job_ids: Collection[int]) -> dict[int, Job]:
    """These jobs, and of copies of services all that live beside them."""
    found = own_jobs(session, job_ids)
    services = {job.service_id for job in found.values() if job.service_id}
    if services:
        beside = (col(JobRow.service_id).in_(services), col(JobRow.finished_at).is_(None))
        found |= _jobs(session, *beside)
    return found


def _jobs(session: Session, *which: ColumnElement[bool]) -> dict[int, Job]:
    query = select_columns(*_OF_JOBS).where(*which)
    return {row[0]: Job(*row) for row in session.connection().execute(query)}


def services(session: Session, names: Collection[str]) -> Mapping[str, Service]:
    """What these services want now; one without a row wants nothing."""
    if not names:
        return {}
    rows = session.exec(
        select(ServiceRow.service_id, ServiceRow.desired, ServiceRevisionRow.spec).where(
            col(ServiceRow.service_id).in_(names),
            ServiceRevisionRow.service_id == ServiceRow.service_id,
            ServiceRevisionRow.number == ServiceRow.revision,
        )
    ).all()
    leaving = session.exec(
        select(ServiceCopyRow.service_id, ServiceCopyRow.task_id).where(
            col(ServiceCopyRow.service_id).in_(names),
            col(ServiceCopyRow.ended_at).is_(None),
            or_(col(ServiceCopyRow.stop).is_not(None), col(ServiceCopyRow.leaving).is_not(None)),
        )
    ).all()
    return {
        name: Service(
            desired=desired,
            budget=spec.get("disruption_budget"),
            leaving={f"{_TASK}{task}" for service, task in leaving if service == name},
        )
        for name, desired, spec in rows
    }

"""Services in SQL: what is wanted of each. Their copies are in ``service_copies``."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.deploys import DeployState
from fleetwide.models.service_documents import DeployDocument, ServiceState, ServiceStatus
from fleetwide.models.services import Capacity, ContainerServiceSpec, Processes
from fleetwide.services.deploys import begin
from fleetwide.store import events, service_history
from fleetwide.store.service_history import Deed
from fleetwide.store.service_tables import ServiceRevisionRow, ServiceRow
from fleetwide.store.tables import EventRow, JobRow

TOLD_KINDS = ("state", "health", "finished")
"""Events of a copy after which its service looks at it."""
MOVED = "moveTask"
"""A copy came or went: an event of each of the two services."""


def find(session: Session, service_id: str, *, lock: bool = False) -> ServiceRow | None:
    """The service; with ``lock`` whoever wants to change it as well waits."""
    query = select(ServiceRow).where(ServiceRow.service_id == service_id)
    return session.exec(query.with_for_update() if lock else query).first()


def get(session: Session, service_id: str, *, lock: bool = False) -> ServiceRow:
    """The service.

    Raises:
        NotFound: there is none of that name, or it was deleted.
    """
    row = find(session, service_id, lock=lock)
    if row is None or row.state == ServiceState.DELETED:
        raise NotFound(f"there is no service {service_id}", hint="fleetwide service list")
    return row


def ensure(
    session: Session, service_id: str, run_id: str, spec: ContainerServiceSpec, *, now: datetime
) -> ServiceRow:
    """The service's row: a new one, one that was deleted anew, or the one that is there.

    What is there holds, and not ``spec``: the workflow may have been ended from outside.
    """
    row = find(session, service_id, lock=True)
    if row is not None and row.state != ServiceState.DELETED:
        row.run_id = run_id
        session.add(row)
        return row
    number = _next_revision(session, service_id)
    row = row or ServiceRow(
        service_id=service_id,
        workflow_id=f"service/{service_id}",
        run_id=run_id,
        state=ServiceState.ACTIVE,
        app=spec.app,
        created_at=now,
        updated_at=now,
    )
    row.run_id, row.state, row.created_at = run_id, ServiceState.ACTIVE, now
    row.version, row.deploy, row.status, row.ends_seen = row.version + 1, {}, {}, row.ends
    if number == 1:
        row.version = 1
    deed = Deed("created", f"wants {spec.capacity.desired} copies", reason="it was created")
    add_revision(session, row, spec, Version(number, number, deed), now=now)
    row.deploy = dump(begin(1, number, spec.deploy, now))
    service_history.note(session, service_id, deed, now=now)
    return row


def dump(state: DeployState) -> dict[str, Any]:
    """A deploy for its column."""
    return state.model_dump(mode="json")


def deploy_of(row: ServiceRow) -> DeployState:
    """How far the service's newest deploy is."""
    return DeployState.model_validate(row.deploy)


def _next_revision(session: Session, service_id: str) -> int:
    query = select(func.max(ServiceRevisionRow.number)).where(
        ServiceRevisionRow.service_id == service_id
    )
    return (session.exec(query).one() or 0) + 1


@dataclass(frozen=True)
class Version:
    """A version that is being added: its number, the template that it shares, and who wants it."""

    number: int
    template: int
    deed: Deed


def next_version(session: Session, row: ServiceRow, template: int | None, deed: Deed) -> Version:
    """The number of the next version; without a template of another one it has its own."""
    number = _next_revision(session, row.service_id)
    return Version(number, number if template is None else template, deed)


def add_revision(
    session: Session,
    row: ServiceRow,
    spec: ContainerServiceSpec,
    version: Version,
    *,
    now: datetime,
) -> None:
    """Let ``spec`` be what is wanted of the service; every version is kept.

    One that shares its template has the verdict of that: its copies are the same.
    """
    same = session.get(ServiceRevisionRow, (row.service_id, version.template))
    session.add(
        ServiceRevisionRow(
            service_id=row.service_id,
            number=version.number,
            template=version.template,
            spec=spec.model_dump(mode="json"),
            by=version.deed.by,
            reason=version.deed.reason,
            at=now,
            verdict=same.verdict if same else None,
            verdict_reason=same.verdict_reason if same else "",
        )
    )
    row.revision, row.updated_at = version.number, now
    row.app, row.owner, row.labels = spec.app, spec.owner, dict(spec.labels)
    row.least, row.desired, row.most = (
        spec.capacity.min,
        spec.capacity.desired,
        spec.capacity.max,
    )
    row.enabled = spec.enabled
    row.disable_increase_desired = spec.processes.disable_increase_desired
    row.disable_decrease_desired = spec.processes.disable_decrease_desired
    session.add(row)
    session.flush()


def capacity_of(row: ServiceRow) -> Capacity:
    """How many copies there shall be now."""
    return Capacity(min=row.least, desired=row.desired, max=row.most)


def processes_of(row: ServiceRow) -> Processes:
    """What nobody may do to ``desired`` now."""
    return Processes(
        disable_increase_desired=row.disable_increase_desired,
        disable_decrease_desired=row.disable_decrease_desired,
    )


def spec_of(session: Session, row: ServiceRow) -> ContainerServiceSpec:
    """What is wanted of the service, with what has updates of its own as it is now."""
    spec = service_history.spec_of(session, row.service_id, row.revision)
    return spec.model_copy(
        update={
            "owner": row.owner,
            "labels": dict(row.labels),
            "capacity": capacity_of(row),
            "enabled": row.enabled,
            "processes": processes_of(row),
        }
    )


def made_from(
    session: Session, service_id: str, templates: Iterable[int]
) -> dict[int, ContainerServiceSpec]:
    """By template what new copies of it are made from, with the owner and the labels of now."""
    row = session.get_one(ServiceRow, service_id)
    now = {"owner": row.owner, "labels": dict(row.labels)}
    return {
        number: service_history.template_of(session, service_id, number).model_copy(update=now)
        for number in templates
    }


def status_of(row: ServiceRow) -> ServiceStatus:
    """The counts of the last look, with what is wanted now."""
    known = ServiceStatus.model_validate(row.status) if row.status else None
    told = known.model_dump(include=_LOOKED) if known else {}
    return ServiceStatus(
        service_id=row.service_id,
        state=ServiceState(row.state),
        version=row.version,
        revision=row.revision,
        capacity=capacity_of(row),
        enabled=row.enabled,
        processes=processes_of(row),
        deploy=DeployDocument.of(deploy_of(row)) if row.deploy else None,
        **told,
    )


_LOOKED = {"live", "ready", "stopping", "leaving", "by_revision", "waiting", "looked_at"}


def expect(row: ServiceRow, version: int | None) -> None:
    """Raises ``Conflict`` when the service is not of that version, or is being deleted."""
    if row.state != ServiceState.ACTIVE:
        raise Conflict(f"service {row.service_id} is being deleted")
    if version is not None and version != row.version:
        raise Conflict(
            f"service {row.service_id} has version {row.version}, not {version}: "
            "somebody changed it meanwhile",
            hint=f"fleetwide service show {row.service_id}",
        )


def may_change_desired(service: ServiceRow, before: int, after: int) -> None:
    """Raises ``Conflict`` when a process that would do it is not allowed."""
    more, less = service.disable_increase_desired, service.disable_decrease_desired
    if (after > before and more) or (after < before and less):
        what = "disable_increase_desired" if after > before else "disable_decrease_desired"
        raise Conflict(
            f"service {service.service_id}: {what} is set, so desired stays {before}",
            hint=f"fleetwide service processes {service.service_id} --help",
        )


@dataclass(frozen=True)
class Wanted:
    """Which services a list shows; what is not given does not matter."""

    app: str | None = None
    owner: str | None = None
    states: Collection[ServiceState] = (ServiceState.ACTIVE, ServiceState.DELETING)
    labels: Mapping[str, str] = field(default_factory=dict)


def listing(
    session: Session, wanted: Wanted, *, after: str | None = None, limit: int = 50
) -> Sequence[ServiceRow]:
    """Services by name; ``after`` is the last one already seen."""
    query = select(ServiceRow).where(col(ServiceRow.state).in_(wanted.states))
    if wanted.app is not None:
        query = query.where(ServiceRow.app == wanted.app)
    if wanted.owner is not None:
        query = query.where(ServiceRow.owner == wanted.owner)
    for name, value in wanted.labels.items():
        query = query.where(col(ServiceRow.labels)[name].as_string() == value)
    if after is not None:
        query = query.where(col(ServiceRow.service_id) > after)
    return session.exec(query.order_by(ServiceRow.service_id).limit(limit)).all()


def active(session: Session) -> list[str]:
    """The names of all services that are not deleted."""
    query = select(ServiceRow.service_id).where(ServiceRow.state != ServiceState.DELETED)
    return list(session.exec(query.order_by(ServiceRow.service_id)))


def changed_since(session: Session, cursor: int | None) -> tuple[int, list[str]]:
    """The number to go on by, and services of which a copy has changed behind an event's number.

    Without a number these are all that are not deleted.
    """
    last = events.newest(session)
    if cursor is None:
        return last, active(session)
    if last == cursor:
        return cursor, []
    behind = events.behind(session, cursor)
    query = (
        select(JobRow.service_id)
        .join(EventRow, col(EventRow.subject) == JobRow.workflow_id)
        .where(*behind, col(EventRow.kind).in_(TOLD_KINDS), col(JobRow.service_id).is_not(None))
        .distinct()
    )
    moved = select(EventRow.subject).where(*behind, EventRow.kind == MOVED).distinct()
    sides = {subject.removeprefix("service/") for subject in session.exec(moved)}
    return last, sorted({name for name in session.exec(query) if name} | sides)

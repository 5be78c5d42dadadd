"""A running copy becomes one of another service: all that SQL says of it, in one transaction.

Its task, its container and its id stay. The row that it had in the service that it leaves is
closed, so that no id is given away twice; events tell both services and the scheduler.
"""

from datetime import datetime

from sqlmodel import Session

from fleetwide.errors import Conflict, InvalidInput
from fleetwide.models.service_moves import TaskMove
from fleetwide.models.services import Capacity
from fleetwide.services.task_moves import Side, moved
from fleetwide.store import events, jobs, service_copies, service_history, services, targets
from fleetwide.store.service_copies import Seen
from fleetwide.store.service_history import Deed
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRow
from fleetwide.store.tables import JobRow


def move(session: Session, source: ServiceRow, asked: TaskMove, now: datetime) -> None:
    """Let a copy of ``source`` be one of another service; both are locked.

    Raises:
        Conflict: it cannot move now; the message says why.
        InvalidInput: it is of that service already.
        NotFound: there is no such copy, or no such service.
    """
    if asked.to == source.service_id:
        raise InvalidInput.for_field("to", "must be another service", given=asked.to)
    target = services.get(session, asked.to)
    services.expect(target, None)
    one, job = _copy(session, source, asked.task_id)
    before = (services.capacity_of(source), services.capacity_of(target))
    after = moved(_source(session, source, one, job), _target(session, target), one.copy)
    for service, was, shall in zip((source, target), before, after, strict=True):
        services.may_change_desired(service, was.desired, shall.desired)
        service.desired, service.updated_at = shall.desired, now
        session.add(service)
    row = service_copies.hand_over(session, source, target, one, now)
    job.service_id, job.copy_index, job.revision = row.service_id, row.index, row.revision
    session.add(job)
    targets.hand_over(session, row.task_id, row.service_id)
    _tell(session, asked, row, source, (before, after), now)


def _copy(session: Session, source: ServiceRow, task_id: str) -> tuple[Seen, JobRow]:
    """The copy and its job, which cannot end before the transaction does."""
    row = service_copies.of_service(session, source, task_id)
    job = jobs.find(session, f"task/{task_id}", lock=True)
    if job is None:
        raise Conflict(f"{task_id} has not begun", hint=f"fleetwide task show {task_id}")
    if job.finished_at is not None:
        raise Conflict(f"{task_id} has ended", hint=f"fleetwide task show {task_id}")
    [one] = [one for one in service_copies.seen(session, source.service_id) if one.row.id == row.id]
    return one, job


def _source(session: Session, row: ServiceRow, one: Seen, job: JobRow) -> Side:
    spec = service_history.template_of(session, row.service_id, one.row.revision)
    began = {"capacity_group": job.capacity_group, "priority": job.priority}
    return Side(
        service_id=row.service_id,
        made_from=spec.model_copy(update=began),
        capacity=services.capacity_of(row),
        enabled=row.enabled,
        deploy=services.deploy_of(row),
    )


def _target(session: Session, row: ServiceRow) -> Side:
    deploy = services.deploy_of(row)
    return Side(
        service_id=row.service_id,
        made_from=service_history.template_of(session, row.service_id, deploy.goes_to),
        capacity=services.capacity_of(row),
        enabled=row.enabled,
        deploy=deploy,
    )


def _tell(
    session: Session,
    asked: TaskMove,
    row: ServiceCopyRow,
    source: ServiceRow,
    sizes: tuple[tuple[Capacity, Capacity], tuple[Capacity, Capacity]],
    now: datetime,
) -> None:
    """In the history of both services, and as an event of the task."""
    place = f"copy {row.index} of {row.service_id}"
    said = f"{row.task_id} is {place} now, and was one of {source.service_id}"
    for service_id, was, shall in zip((source.service_id, row.service_id), *sizes, strict=True):
        deed = Deed(
            services.MOVED,
            f"{said}: {was.desired} to {shall.desired} copies",
            asked.by,
            asked.reason,
            numbers={"desired": shall.desired, "index": row.index},
            before=was.model_dump(),
            after=shall.model_dump(),
        )
        service_history.note(session, service_id, deed, now=now)
    data = {"from": source.service_id, "to": row.service_id, "by": asked.by}
    why = f" ({asked.by}): {asked.reason}" if asked.by else f": {asked.reason}"
    events.append(session, f"task/{row.task_id}", "moved", f"{said}{why}", at=now, data=data)

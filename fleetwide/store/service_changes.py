"""What people and the platform change of a service: compared with its version, kept as history."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session

from fleetwide.errors import Conflict, InvalidInput
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.labels import MAX_LABELS
from fleetwide.models.service_documents import ServiceState, ServiceStatus
from fleetwide.models.service_moves import (
    CopyStop,
    CopyTermination,
    DeployRequest,
    ServiceAttributes,
    ServiceMove,
    ServiceProcesses,
    ServiceRollback,
    ServiceScale,
    ServiceSwitch,
    TaskMove,
)
from fleetwide.models.service_turns import ServiceChange
from fleetwide.models.services import Capacity, ContainerServiceSpec
from fleetwide.models.task_states import EndReason
from fleetwide.services import deploy_moves
from fleetwide.services.deploys import begin
from fleetwide.services.reconcile import Stopping
from fleetwide.services.revisions import keeping, needs_deploy
from fleetwide.store import (
    service_copies,
    service_history,
    service_turns,
    services,
    task_moves,
)
from fleetwide.store.service_history import Deed
from fleetwide.store.service_tables import ServiceRow

Move = TypeVar("Move", bound=ServiceMove)
_GIVEN_UP = frozenset({DeployPhase.FAILED, DeployPhase.ABORTED})


def deploy(session: Session, service: ServiceRow, move: DeployRequest, now: datetime) -> None:
    """A new version; copies are replaced only if what they are made from is another one.

    The same version once more is a deploy only after one that was given up.
    """
    current = services.spec_of(session, service)
    spec = wanted(current, move)
    revision = service_history.revision(session, service.service_id, service.revision)
    if spec == current:
        if services.deploy_of(service).phase in _GIVEN_UP:
            _begin(session, service, spec, revision.template, now)
            service.version += 1
            again = Deed("deploy", "the same version once more", move.by, move.reason)
            _note(session, service, again, {"revision": service.revision}, now)
        return
    same = not needs_deploy(current, spec)
    deed = Deed(
        "deploy" if not same else "attributes",
        "a new version" if not same else "a new version that replaces no copy",
        move.by,
        move.reason,
        before={"revision": service.revision},
    )
    version = services.next_version(session, service, revision.template if same else None, deed)
    services.add_revision(session, service, spec, version, now=now)
    service.version += 1
    if not same:
        _begin(session, service, spec, version.template, now)
    _note(session, service, deed, {"revision": service.revision}, now)


def wanted(current: ContainerServiceSpec, move: DeployRequest) -> ContainerServiceSpec:
    """The spec that a new version leads to: with what is kept.

    Where policies move ``desired``, it stays as they made it, within the new bounds.
    """
    spec = keeping(move.spec, current, move.keep)
    if not (current.autoscaling and spec.autoscaling and spec.enabled):
        return spec
    bounds = spec.capacity
    desired = min(max(current.capacity.desired, bounds.min), bounds.max)
    return spec.model_copy(update={"capacity": bounds.model_copy(update={"desired": desired})})


def _begin(
    session: Session,
    service: ServiceRow,
    spec: ContainerServiceSpec,
    template: int,
    now: datetime,
) -> None:
    before = services.deploy_of(service)
    number = before.number + 1
    ended = deploy_moves.superseded(before, number, now)
    if ended != before:
        deed = Deed("deploy", f"deploy {before.number} is {ended.phase}", "", ended.reason)
        service_history.note(session, service.service_id, deed, now=now)
    service.deploy = services.dump(begin(number, template, spec.deploy, now, before))
    session.add(service)


def rollback(session: Session, service: ServiceRow, move: ServiceRollback, now: datetime) -> None:
    """Back to an earlier version: of the deploy that goes on, or by a deploy of its own."""
    if move.revision is None and not services.deploy_of(service).over:
        _moved(session, service, move, "rollback", now)
        return
    current = service_history.revision(session, service.service_id, service.revision)
    if move.revision is None:
        found = service_history.newest_good(session, service.service_id, service.revision)
        while found is not None and found.template == current.template:
            found = service_history.newest_good(session, service.service_id, found.number)
        if found is None:
            raise Conflict(
                f"service {service.service_id} has no other good revision to go back to",
                hint=f"fleetwide service revisions {service.service_id}",
            )
    else:
        found = service_history.revision(session, service.service_id, move.revision)
    old = ContainerServiceSpec.model_validate(found.spec)
    spec = keeping(old, services.spec_of(session, service))
    deed = Deed(
        "rollback",
        f"back to revision {found.number}",
        move.by,
        move.reason,
        before={"revision": service.revision},
    )
    version = services.next_version(session, service, found.template, deed)
    services.add_revision(session, service, spec, version, now=now)
    service.version += 1
    if found.template != services.deploy_of(service).goes_to:
        _begin(session, service, spec, found.template, now)
    _note(session, service, deed, {"revision": service.revision}, now)


def scale(session: Session, service: ServiceRow, move: ServiceScale, now: datetime) -> None:
    """Other numbers of copies; ``desired`` moves along when only a bound is given."""
    before = services.capacity_of(service)
    wanted = _scaled(before, move)
    if wanted == before:
        return
    services.may_change_desired(service, before.desired, wanted.desired)
    service.least, service.desired, service.most = wanted.min, wanted.desired, wanted.max
    if (wanted.min, wanted.max) != (before.min, before.max):
        service.version += 1
    deed = Deed(
        "scale",
        f"{before.desired} to {wanted.desired} copies ({wanted.min} to {wanted.max})",
        move.by,
        move.reason,
        numbers=move.numbers,
        before=before.model_dump(),
    )
    _note(session, service, deed, wanted.model_dump(), now)


def _scaled(now: Capacity, move: ServiceScale) -> Capacity:
    least = now.min if move.min is None else move.min
    most = now.max if move.max is None else move.max
    if least > most:
        raise InvalidInput.for_field("min", f"would be {least}, which is more than max ({most})")
    desired = min(max(now.desired, least), most) if move.desired is None else move.desired
    if not least <= desired <= most:
        raise InvalidInput.for_field(
            "desired", f"would be {desired}; min is {least}, max is {most}"
        )
    return Capacity(min=least, desired=desired, max=most)


def switch(session: Session, service: ServiceRow, move: ServiceSwitch, now: datetime) -> None:
    """Let things scale the service by themselves, or not."""
    if service.enabled == move.enabled:
        return
    before, service.enabled = service.enabled, move.enabled
    service.version += 1
    sentence = "it is enabled" if move.enabled else "nothing scales it by itself any more"
    deed = Deed("enabled", sentence, move.by, move.reason, before={"enabled": before})
    _note(session, service, deed, {"enabled": move.enabled}, now)


def processes(session: Session, service: ServiceRow, move: ServiceProcesses, now: datetime) -> None:
    """What nobody may do to ``desired`` for now."""
    before = services.processes_of(service)
    given = move.model_dump(
        include={"disable_increase_desired", "disable_decrease_desired"}, exclude_none=True
    )
    after = before.model_copy(update=given)
    if after == before:
        return
    service.disable_increase_desired = after.disable_increase_desired
    service.disable_decrease_desired = after.disable_decrease_desired
    service.version += 1
    deed = Deed("processes", "other processes are allowed", move.by, move.reason)
    _note(session, service, deed, after.model_dump(), now)


def attributes(
    session: Session, service: ServiceRow, move: ServiceAttributes, now: datetime
) -> None:
    """Another owner, other labels: no revision, no deploy; copies that run keep theirs."""
    before = {"owner": service.owner, "labels": dict(service.labels)}
    kept = {name: text for name, text in service.labels.items() if name not in move.remove_labels}
    labels = {**kept, **move.labels}
    if len(labels) > MAX_LABELS:
        raise InvalidInput.for_field("labels", f"would be {len(labels)}; at most {MAX_LABELS}")
    after = {"owner": service.owner if move.owner is None else move.owner, "labels": labels}
    if after == before:
        return
    service.owner, service.labels = str(after["owner"]), labels
    service.version += 1
    changed = [name for name in after if after[name] != before[name]]
    deed = Deed(
        "attributes",
        f"other {' and '.join(changed)}, by which no copy is replaced",
        move.by,
        move.reason,
        numbers={"labels": len(labels)},
        before=before,
    )
    _note(session, service, deed, after, now)


def pause(session: Session, service: ServiceRow, move: ServiceMove, now: datetime) -> None:
    """Hold the deploy."""
    _moved(session, service, move, "pause", now)


def resume(session: Session, service: ServiceRow, move: ServiceMove, now: datetime) -> None:
    """Let the deploy go on."""
    _moved(session, service, move, "resume", now)


def promote(session: Session, service: ServiceRow, move: ServiceMove, now: datetime) -> None:
    """Let the new version have everything."""
    _moved(session, service, move, "promote", now)


def abort(session: Session, service: ServiceRow, move: ServiceMove, now: datetime) -> None:
    """Give the deploy up where it stands."""
    _moved(session, service, move, "abort", now)


def _moved(
    session: Session, service: ServiceRow, move: ServiceMove, what: str, now: datetime
) -> None:
    """Do something to the deploy that goes on."""
    before = services.deploy_of(service)
    steps: Mapping[str, Callable[[], DeployState]] = {
        "pause": lambda: deploy_moves.pause(before, move.reason),
        "resume": lambda: deploy_moves.resume(before, move.reason),
        "promote": lambda: deploy_moves.promote(before, now, move.reason),
        "abort": lambda: deploy_moves.abort(before, now, move.reason),
        "rollback": lambda: deploy_moves.rollback(before, now, move.reason),
    }
    after = steps[what]()
    service.deploy = services.dump(after)
    service.version += 1
    if after.phase is not before.phase:
        service_turns.note_phase(session, service, before, after, now)
    deed = Deed(
        what,
        f"deploy {after.number} is {after.phase}",
        move.by,
        move.reason,
        before={"phase": before.phase},
    )
    _note(session, service, deed, {"phase": after.phase}, now)


def terminate(session: Session, service: ServiceRow, move: CopyTermination, now: datetime) -> None:
    """End one copy, and perhaps want one less from now on."""
    before = services.capacity_of(service)
    row = service_copies.of_service(session, service, move.task_id)
    if move.shrink:
        _shrink(service, move)
    reason = EndReason.SCALED_DOWN if move.shrink else EndReason.KILLED
    stop = Stopping(row.task_id, CopyStop(reason=reason, message=move.reason))
    service_copies.order_stops(session, [row], [stop], now=now)
    what = "and one copy less is desired" if move.shrink else "and another takes its place"
    after = services.capacity_of(service)
    deed = Deed(
        "terminate",
        f"{row.task_id} is ended, {what}",
        move.by,
        move.reason,
        numbers={"desired": after.desired},
        before=before.model_dump(),
    )
    _note(session, service, deed, after.model_dump(), now)


def _shrink(service: ServiceRow, move: CopyTermination) -> None:
    if service.desired == 0:
        raise Conflict(f"service {service.service_id} wants no copies already")
    services.may_change_desired(service, service.desired, service.desired - 1)
    if service.desired == service.least:
        if move.prevent_min_update:
            raise Conflict(
                f"service {service.service_id} wants its min of {service.least} copies: it cannot "
                "shrink while min stays",
                hint=f"fleetwide service scale {service.service_id} --min {service.least - 1}",
            )
        service.least -= 1
        service.version += 1
    service.desired -= 1


def delete(session: Session, service: ServiceRow, move: ServiceMove, now: datetime) -> None:
    """Stop all copies and end the service."""
    service.state = ServiceState.DELETING
    service.version += 1
    _note(session, service, Deed("delete", "it is being deleted", move.by, move.reason), {}, now)


def _note(
    session: Session,
    service: ServiceRow,
    deed: Deed,
    after: Mapping[str, Any],
    now: datetime,
) -> None:
    service.updated_at = now
    session.add(service)
    told = Deed(
        deed.kind, deed.sentence, deed.by, deed.reason, deed.numbers, deed.before, dict(after)
    )
    service_history.note(session, service.service_id, told, now=now)


_CHANGES: dict[str, tuple[type[ServiceMove], Callable[[Session, ServiceRow, Any, datetime], None]]]
_CHANGES = {
    "deploy": (DeployRequest, deploy),
    "scale": (ServiceScale, scale),
    "set_enabled": (ServiceSwitch, switch),
    "set_processes": (ServiceProcesses, processes),
    "set_attributes": (ServiceAttributes, attributes),
    "pause": (ServiceMove, pause),
    "resume": (ServiceMove, resume),
    "promote": (ServiceMove, promote),
    "abort": (ServiceMove, abort),
    "rollback": (ServiceRollback, rollback),
    "terminate_copy": (CopyTermination, terminate),
    "move_task": (TaskMove, task_moves.move),
    "delete": (ServiceMove, delete),
}


def change(session: Session, asked: ServiceChange, now: datetime) -> ServiceStatus:
    """Do what an update asks for; one that was done already is not done again.

    Raises:
        Conflict: the service is of another version, is being deleted, or cannot do it now.
        InvalidInput: the numbers do not fit together.
        NotFound: there is no such service, revision or copy.
    """
    model, work = _CHANGES[asked.name]
    move = model.model_validate(asked.argument)
    _lock(session, asked.service_id, move)
    service = services.get(session, asked.service_id)
    with service_history.once(session, service.service_id, asked.change_id) as is_new:
        if is_new:
            services.expect(service, move.expected_version)
            work(session, service, move, now)
    return services.status_of(service)


def _lock(session: Session, service_id: str, move: ServiceMove) -> None:
    """All services that it changes, always in the same order: two moves do not wait in a ring."""
    others = {move.to} if isinstance(move, TaskMove) else set()
    for name in sorted({service_id, *others}):
        services.find(session, name, lock=True)

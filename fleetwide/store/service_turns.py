"""One look at a service in one transaction: what is there, what shall be, what is ordered.

All that is decided is written down before anything is done, so that whoever is killed in between
is followed by somebody who goes on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from fleetwide.errors import NotFound
from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.service_documents import ServiceState, ServiceStatus
from fleetwide.models.service_moves import CopyMove, CopyStop
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.deploy_steps import serves
from fleetwide.services.deploy_waits import waiting as deploy_wait
from fleetwide.services.deploys import advance
from fleetwide.services.reconcile import Goal, Steps, Stopping, reconcile
from fleetwide.services.revisions import keeping
from fleetwide.services.shares import limits_of
from fleetwide.services.status import again_at, counted, waits_for
from fleetwide.store import service_copies, service_history, services, standings
from fleetwide.store.service_copies import Orders, Seen
from fleetwide.store.service_history import BAD, GOOD, PLATFORM, Deed
from fleetwide.store.service_tables import ServiceRow

MOST_AT_ONCE = 100
"""Copies that one turn starts, and that it stops."""
DELETED = CopyStop(reason=EndReason.KILLED, message="the service was deleted")
NO_STEPS = Steps()


@dataclass(frozen=True)
class Turn:
    """What came of a look."""

    status: ServiceStatus
    orders: Orders
    again_at: datetime | None


def take(session: Session, service_id: str, moves: Sequence[CopyMove], now: datetime) -> Turn:
    """Look at a service, decide, and write down what is to be done."""
    service = services.find(session, service_id, lock=True)
    if service is None:
        raise NotFound(f"there is no service {service_id}", hint="fleetwide service list")
    if service.state == ServiceState.DELETED:
        return Turn(services.status_of(service), Orders([], [], []), None)
    spec = services.spec_of(session, service)
    there = _look(session, service)
    for move in moves:
        if not move.is_late(now):
            _note_move(session, service, there, move, now)
    if moves:
        there = _look(session, service)
    if service.state == ServiceState.DELETING:
        return _delete(session, service, there, now)
    copies = [one.copy for one in there]
    state, want = _advance(session, service, spec, copies, now)
    vacant = service_copies.vacancies(session, service_id)
    steps = reconcile(_goal(session, spec, state, want, now), copies, vacant, now)
    service_copies.order_stops(session, [one.row for one in there], steps.stops, now=now)
    service_copies.order_starts(session, service_id, steps.starts, now=now)
    if steps.starts or steps.stops:
        session.flush()
        there = _look(session, service)
    _show(session, service, spec, there, want, steps, now)
    orders = service_copies.orders(session, there, now=now, limit=MOST_AT_ONCE)
    due = again_at([one.copy for one in there], state, spec.deploy, steps, now)
    return Turn(services.status_of(service), orders, due)


def _look(session: Session, service: ServiceRow) -> list[Seen]:
    """The copies that are not over; those that are get closed."""
    found = service_copies.seen(session, service.service_id)
    for one in found:
        if one.over:
            service_copies.close(session, service, one)
    session.flush()
    return [one for one in found if not one.over]


def _note_move(
    session: Session, service: ServiceRow, there: Sequence[Seen], move: CopyMove, now: datetime
) -> None:
    for task_id in service_copies.leave(there, session, move):
        how = "at once" if move.forced else "once another has taken its place"
        deed = Deed("move", f"{task_id} leaves its host {how}", PLATFORM, move.message)
        service_history.note(session, service.service_id, deed, now=now)
    session.flush()


def _advance(
    session: Session,
    service: ServiceRow,
    spec: ContainerServiceSpec,
    copies: Sequence[Copy],
    now: datetime,
) -> tuple[DeployState, dict[int, int]]:
    before = services.deploy_of(service)
    ended = service_copies.ended_since(session, service)
    state, want = advance(before, spec.deploy, service.desired, copies, ended, now)
    service.ends_seen = service.ends
    if state != before:
        service.deploy = services.dump(state)
        _note_steps(session, service, before, state, now)
        if state.phase is not before.phase:
            _enter(session, service, before, state, now)
    session.add(service)
    return state, want


def _note_steps(
    session: Session,
    service: ServiceRow,
    before: DeployState,
    state: DeployState,
    now: datetime,
) -> None:
    """Keep how each step of a canary was judged, and when blue/green switched."""
    for verdict in state.verdicts[len(before.verdicts) :]:
        said = "well enough to go on" if verdict.good else "bad"
        deed = Deed(
            "judgement",
            f"step {verdict.step + 1} of deploy {state.number} was judged {said}",
            PLATFORM,
            verdict.sentence,
            numbers={"newRate": verdict.new.rate, "allowedRate": verdict.allowed_rate},
        )
        service_history.note(session, service.service_id, deed, now=now)
    if state.switched_at is not None and before.switched_at is None:
        deed = Deed(
            "switch",
            f"requests go to revision {state.to_revision} from now on",
            PLATFORM,
            f"all copies of deploy {state.number} are ready",
        )
        service_history.note(session, service.service_id, deed, now=now)


def _enter(
    session: Session,
    service: ServiceRow,
    before: DeployState,
    state: DeployState,
    now: datetime,
) -> None:
    """Keep what became of a deploy, and of its version."""
    deed = Deed(
        "deploy",
        f"deploy {state.number} to revision {state.to_revision} is {state.phase}",
        PLATFORM,
        state.reason,
        numbers=state.numbers,
        before={"phase": before.phase},
        after={"phase": state.phase},
    )
    service_history.note(session, service.service_id, deed, now=now)
    note_phase(session, service, before, state, now)


def note_phase(
    session: Session,
    service: ServiceRow,
    before: DeployState,
    state: DeployState,
    now: datetime,
) -> None:
    """Judge a deploy's version by its phase; once it goes back the old spec holds again."""
    turned = state.back_since is not None and before.back_since is None
    if state.phase is DeployPhase.SUCCEEDED:
        service_history.judge(session, service.service_id, state.to_revision, GOOD, state.reason)
    if state.phase is DeployPhase.FAILED or turned:
        service_history.judge(session, service.service_id, state.to_revision, BAD, state.reason)
    if turned and state.from_revision is not None:
        good = service_history.template_of(session, service.service_id, state.from_revision)
        kept = services.spec_of(session, service)
        spec = keeping(good, kept)
        deed = Deed("rollback", "the last good spec holds again", PLATFORM, state.reason)
        version = services.next_version(session, service, state.from_revision, deed)
        services.add_revision(session, service, spec, version, now=now)
        service.version += 1


def _goal(
    session: Session,
    spec: ContainerServiceSpec,
    state: DeployState,
    want: dict[int, int],
    now: datetime,
) -> Goal:
    policy = spec.deploy.model_copy(update={"strategy": state.strategy})
    limits = limits_of(policy, spec.capacity.desired)
    frozen = standings.valve_row(session, now=now).frozen
    return Goal(
        want=want,
        target=state.goes_to,
        desired=limits.desired,
        surge=limits.surge,
        unavailable=limits.unavailable,
        healthy_seconds=policy.healthy_seconds,
        replace_silent=spec.replace_while_disconnected and not frozen,
        unserved=[number for number in want if not serves(state, number)],
    )


def _show(  # noqa: PLR0913, PLR0917 - all that a status is made of
    session: Session,
    service: ServiceRow,
    spec: ContainerServiceSpec,
    there: Sequence[Seen],
    want: dict[int, int],
    steps: Steps,
    now: datetime,
) -> None:
    """Write down what there is, for whoever asks."""
    copies = [one.copy for one in there]
    seconds = spec.deploy.healthy_seconds
    before = services.status_of(service)
    no_host = [
        str(one.waiting["sentence"])
        for one in there
        if one.waiting and one.copy.state is TaskState.ACCEPTED
    ]
    status = before.model_copy(
        update={
            "live": sum(one.lives for one in copies),
            "ready": sum(one.ready(now, seconds) for one in copies),
            "stopping": sum(not one.lives for one in copies),
            "leaving": sum(one.leaving and one.lives for one in copies),
            "by_revision": counted(copies, want, now, seconds),
            "looked_at": now,
        }
    )
    deploy = deploy_wait(services.deploy_of(service), spec.deploy, service.desired, copies, now)
    status = status.model_copy(
        update={"waiting": waits_for(status, steps, deploy, no_host, before.waiting)}
    )
    service.status = status.model_dump(mode="json")
    session.add(service)


def _delete(session: Session, service: ServiceRow, there: Sequence[Seen], now: datetime) -> Turn:
    """Stop all copies; the service is gone when none is left."""
    stops = [Stopping(one.row.task_id, DELETED) for one in there if one.row.stop is None]
    service_copies.order_stops(session, [one.row for one in there], stops, now=now)
    service.ends_seen = service.ends
    if not there:
        service.state = ServiceState.DELETED
        service_history.note(
            session, service.service_id, Deed("deleted", "no copy is left"), now=now
        )
    session.flush()
    there = _look(session, service) if stops else there
    spec = services.spec_of(session, service)
    _show(session, service, spec, there, {}, NO_STEPS, now)
    orders = service_copies.orders(session, there, now=now, limit=MOST_AT_ONCE)
    return Turn(services.status_of(service), orders, None)

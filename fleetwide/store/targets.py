"""Registrations of copies at load balancers, and how a copy leaves them before it is stopped.

``release`` and ``released`` are for whoever stops copies; all else is the scheduler's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, cast, delete, tuple_, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.models.targets import Target, TargetState
from fleetwide.services.targets import Change, Registration
from fleetwide.store import events
from fleetwide.store.service_tables import ServiceRevisionRow, ServiceRow
from fleetwide.store.tables import JobRow
from fleetwide.store.target_tables import ServiceReleaseRow, ServiceTargetRow
from fleetwide.store.upserts import Upsert

PATIENCE = timedelta(minutes=15)
"""A copy is not kept for longer than this, beyond its drain time, by a load balancer that fails."""
FORGET_AFTER = timedelta(hours=1)
"""How long what is known of a copy outlives it."""
AT_ONCE = 200
_STAYS = (TargetState.REGISTERING, TargetState.REGISTERED)
_RELEASE = Upsert.into(ServiceReleaseRow, lambda insert: insert.on_conflict_do_nothing())
_CHANGED = (
    "service_id", "address", "port", "drain_seconds", "state", "since", "removed_at", "tries",
    "error",
)  # fmt: skip
_JOIN = Upsert.into(
    ServiceTargetRow,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["task_id", "target"],
        set_={name: getattr(insert.excluded, name) for name in _CHANGED},
    ),
)

Key = tuple[str, str]
"""Id of the task, and key of the target."""


def release(session: Session, service_id: str, task_id: str, now: datetime) -> None:
    """Have a copy leave all its targets, for it is to be stopped; safe to ask for again."""
    if session.get(ServiceReleaseRow, task_id) is None:
        _RELEASE.run(session, {"task_id": task_id, "asked_at": now})
        subject = f"service/{service_id}"
        said = f"{task_id} is about to stop: it leaves its load balancers"
        events.append(session, subject, "target", said, at=now, data={"task": task_id})
    _leave(session, now, col(ServiceTargetRow.task_id) == task_id)


def hand_over(session: Session, task_id: str, service_id: str) -> None:
    """Let a copy's registrations be those of another service, which keeps or leaves each."""
    of_task = col(ServiceTargetRow.task_id) == task_id
    statement = update(ServiceTargetRow).where(of_task).values(service_id=service_id)
    session.connection().execute(statement)


def released(session: Session, task_id: str, now: datetime) -> bool:
    """Whether a copy that was released may be stopped: no target sends it requests any more.

    False for one that nobody released.
    """
    asked = session.get(ServiceReleaseRow, task_id)
    if asked is None:
        return False
    query = select(ServiceTargetRow.drain_seconds).where(
        ServiceTargetRow.task_id == task_id, ServiceTargetRow.state != TargetState.DEREGISTERED
    )
    return all(
        now >= asked.asked_at + timedelta(seconds=seconds) + PATIENCE
        for seconds in session.exec(query)
    )


def released_of(session: Session, task_ids: Sequence[str]) -> set[str]:
    """Those of these copies that are about to be stopped."""
    found = set[str]()
    for first in range(0, len(task_ids), AT_ONCE):
        some = task_ids[first : first + AT_ONCE]
        query = select(ServiceReleaseRow.task_id).where(col(ServiceReleaseRow.task_id).in_(some))
        found.update(session.exec(query))
    return found


@dataclass(frozen=True)
class Standing:
    """What decides who may be registered, besides the copies themselves."""

    revision: int
    deploy: str
    """The deploy as the database's own text: it is compared, not read."""


def standings(session: Session) -> dict[str, Standing]:
    """The services that are not deleted."""
    deploy = cast(col(ServiceRow.deploy), Text)
    query = select_columns(col(ServiceRow.service_id), col(ServiceRow.revision), deploy).where(
        col(ServiceRow.state) != "Deleted"
    )
    rows = session.connection().execute(query)
    return {name: Standing(revision, text) for name, revision, text in rows}


def of_revision(session: Session, service_id: str, revision: int) -> list[Target]:
    """The targets that one version of a service names."""
    row = session.get(ServiceRevisionRow, (service_id, revision))
    named = row.spec.get("targets", []) if row is not None else []
    return [Target.model_validate(one) for one in named]


def listing(session: Session, service_id: str) -> Sequence[ServiceTargetRow]:
    """The registrations of one service, by target and copy."""
    query = select(ServiceTargetRow).where(ServiceTargetRow.service_id == service_id)
    return session.exec(query.order_by(ServiceTargetRow.target, ServiceTargetRow.task_id)).all()


def draining(session: Session) -> Sequence[ServiceTargetRow]:
    """Those that leave, of all services."""
    query = select(ServiceTargetRow).where(ServiceTargetRow.state == TargetState.DRAINING)
    return session.exec(query).all()


def registrations(
    session: Session, services: Sequence[str] | None = None
) -> list[tuple[str, Registration]]:
    """All registrations, or those of some services, each with its service."""
    if services is None:
        return _registrations(session, None)
    return [
        found
        for first in range(0, len(services), AT_ONCE)
        for found in _registrations(session, services[first : first + AT_ONCE])
    ]


def _registrations(
    session: Session, services: Sequence[str] | None
) -> list[tuple[str, Registration]]:
    table = ServiceTargetRow
    query = select_columns(
        col(table.service_id),
        col(table.task_id),
        col(table.target),
        col(table.state),
        col(table.address),
        col(table.port),
        col(table.removed_at).is_not(None),
        col(table.error),
    )
    if services is not None:
        query = query.where(col(table.service_id).in_(services))
    found = session.connection().execute(query)
    return [
        (service, Registration(task, target, TargetState(state), address, port, gone, error))
        for service, task, target, state, address, port, gone, error in found
    ]


def over(session: Session, task_ids: Sequence[str]) -> frozenset[str]:
    """Those of these copies that have ended, as far as is known."""
    live = set[str]()
    for first in range(0, len(task_ids), AT_ONCE):
        some = [f"task/{task_id}" for task_id in task_ids[first : first + AT_ONCE]]
        query = select(JobRow.workflow_id).where(
            col(JobRow.workflow_id).in_(some), col(JobRow.finished_at).is_(None)
        )
        live.update(found.removeprefix("task/") for found in session.exec(query))
    return frozenset(task_ids) - live


def write(
    session: Session,
    service_id: str,
    changes: Sequence[Change],
    targets: Mapping[str, Target],
    *,
    now: datetime,
) -> None:
    """Keep what is due, before any load balancer is told; ``targets`` by key.

    A copy that was released meanwhile is not registered any more: whoever asks ``released`` after
    that sees either its row or nothing that will be told to a load balancer.
    """
    for change in changes:
        if change.to is TargetState.DRAINING:
            _leave(session, now, _are([(change.task_id, change.target)]))
    joins = [change for change in changes if change.to is TargetState.REGISTERING]
    leaving = released_of(session, [change.task_id for change in joins])
    rows = [
        {
            "task_id": change.task_id,
            "target": change.target,
            "service_id": service_id,
            "address": change.address,
            "port": change.port,
            "drain_seconds": targets[change.target].drain_seconds,
            "state": TargetState.REGISTERING,
            "since": now,
            "removed_at": None,
            "tries": 0,
            "error": "",
        }
        for change in joins
        if change.task_id not in leaving
    ]
    if rows:
        _JOIN.run(session, rows)


def registered(session: Session, keys: Sequence[Key], *, now: datetime) -> None:
    """Their load balancers send them requests; those that leave meanwhile go on leaving."""
    values = {"state": TargetState.REGISTERED, "since": now, "tries": 0, "error": ""}
    _change(session, keys, TargetState.REGISTERING, values)


def unregistered(session: Session, keys: Sequence[Key], *, now: datetime) -> None:
    """Their load balancers lost them: they are to be registered again."""
    _change(session, keys, TargetState.REGISTERED, {"state": TargetState.REGISTERING, "since": now})


def removed(session: Session, keys: Sequence[Key], *, now: datetime) -> None:
    """They get no new requests; those that are under way may still end."""
    _change(session, keys, TargetState.DRAINING, {"removed_at": now, "tries": 0, "error": ""})


def drained(session: Session, keys: Sequence[Key], *, now: datetime) -> None:
    """Nothing is under way at them any more."""
    values = {"state": TargetState.DEREGISTERED, "since": now, "tries": 0, "error": ""}
    _change(session, keys, TargetState.DRAINING, values)


def failed(session: Session, keys: Sequence[Key], error: str) -> None:
    """Their load balancer could not be told; ``error`` says why."""
    for some in _portions(keys):
        values = {"tries": ServiceTargetRow.tries + 1, "error": error}
        statement = update(ServiceTargetRow).where(_are(some)).values(values)
        session.connection().execute(statement)


def forget(session: Session, *, now: datetime) -> None:
    """Delete what is known of copies that are over for a while and were left everywhere."""
    before = now - FORGET_AFTER
    table, known = ServiceTargetRow, ServiceReleaseRow
    lives = "task/" + col(known.task_id) == col(JobRow.workflow_id)
    is_over = ~select(JobRow.id).where(lives, col(JobRow.finished_at).is_(None)).exists()
    stays = ~select(table.task_id).where(_unsettled(), table.task_id == known.task_id).exists()
    session.connection().execute(delete(known).where(col(known.asked_at) < before, is_over, stays))
    lives = "task/" + col(table.task_id) == col(JobRow.workflow_id)
    is_over = ~select(JobRow.id).where(lives, col(JobRow.finished_at).is_(None)).exists()
    session.connection().execute(
        delete(table).where(~_unsettled(), col(table.since) < before, is_over)
    )


def waiting(session: Session, keys: Sequence[Key], words: str) -> None:
    """Their load balancer was told, and does not send them anything yet; ``words`` say why."""
    _change(session, keys, TargetState.REGISTERING, {"error": words})


def unsettled(session: Session) -> bool:
    """Whether a load balancer is still to be told something, or is waited for."""
    states = (TargetState.REGISTERING, TargetState.DRAINING)
    query = select(ServiceTargetRow.task_id).where(col(ServiceTargetRow.state).in_(states))
    return session.exec(query.limit(1)).first() is not None


def _unsettled() -> Any:
    return col(ServiceTargetRow.state) != TargetState.DEREGISTERED


def _leave(session: Session, now: datetime, which: Any) -> None:
    values = {"state": TargetState.DRAINING, "since": now, "removed_at": None}
    statement = update(ServiceTargetRow).where(which, col(ServiceTargetRow.state).in_(_STAYS))
    session.connection().execute(statement.values(values))


def _change(
    session: Session, keys: Sequence[Key], before: TargetState, values: Mapping[str, Any]
) -> None:
    for some in _portions(keys):
        statement = update(ServiceTargetRow).where(
            _are(some), col(ServiceTargetRow.state) == before
        )
        session.connection().execute(statement.values(values))


def _portions(keys: Sequence[Key]) -> Iterable[Sequence[Key]]:
    return (keys[first : first + AT_ONCE] for first in range(0, len(keys), AT_ONCE))


def _are(keys: Sequence[Key]) -> Any:
    return tuple_(col(ServiceTargetRow.task_id), col(ServiceTargetRow.target)).in_(keys)

"""The next round of defragmentation, from SQL: which hosts can be emptied within their budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleetwide.containers.defragmentation import Freed, next_to_free
from fleetwide.containers.placement import Host, Lifecycle, Move, Request, Snapshot, plan
from fleetwide.models.defragmentation_documents import (
    DefragmentationDocument,
    KeptHost,
    PlannedMove,
)
from fleetwide.models.disturbances import Cause, Refusal
from fleetwide.models.host_moves import DrainRequest
from fleetwide.models.hosts import HostState
from fleetwide.settings import Settings
from fleetwide.store import disruption_gates, scheduling, standings
from fleetwide.store.among import among
from fleetwide.store.fleet_tables import HostStandingRow
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

BY = "defragmentation"
TRIED = 20
"""Hosts that are tried in a round, those with the fewest tasks: each costs a dry run."""
MOST_TASKS = 50
"""A host with more is never emptied for this."""
PAUSE = timedelta(hours=1)
"""So long a host is left alone after it was emptied, or could not be."""
OVERDUE = timedelta(minutes=10)
"""A host that does not take work again so long after its deadline is emptied by nobody any more."""


@dataclass(frozen=True)
class Rules:
    """What the settings say of it."""

    enabled: bool
    parallel: int
    """So many tasks are moved at a time."""
    deadline: timedelta
    """So long budgets may hold up a round."""


def rules_of(settings: Settings) -> Rules:
    """The rules by the settings."""
    return Rules(
        settings.defragmentation,
        settings.defragmentation_parallel,
        timedelta(seconds=settings.defragmentation_deadline),
    )


@dataclass(frozen=True)
class Round:
    """What a round sees, and what it would do."""

    snapshot: Snapshot
    freed: Freed | None = None
    under_way: HostStandingRow | None = None
    stuck: tuple[str, ...] = ()
    """Hosts that were to take work again long ago."""
    silent: int = 0
    kept: tuple[KeptHost, ...] = ()


def next_round(session: Session, rules: Rules, *, now: datetime) -> Round:
    """Look at the fleet; nothing is written."""
    known = standings.standings(session)
    ours = [row for row in known.values() if row.by == BY and row.wanted == HostState.INACTIVE]
    late = now - rules.deadline - OVERDUE
    under_way = [row for row in ours if row.changed_at is not None and row.changed_at > late]
    stuck = tuple(row.host_id for row in ours if row not in under_way)
    away = select(HostRow.host_id).where(HostRow.state == HostState.DISCONNECTED)
    silent = len(session.exec(away).all())
    snapshot = scheduling.snapshot(session, now=now)
    seen = Round(snapshot, None, under_way[0] if under_way else None, stuck, silent)
    if under_way or silent:
        return seen
    candidates, kept = _candidates(snapshot, known, now)
    moves, held = _moves(session, [host.host_id for host in candidates], rules, now)
    able = {move.host_id for move in moves} - {one.host_id for one in held}
    freed = next_to_free(snapshot, plan(snapshot), moves, able)
    return Round(snapshot, freed, None, stuck, 0, (*kept, *held))


def _candidates(
    snapshot: Snapshot, known: dict[str, HostStandingRow], now: datetime
) -> tuple[list[Host], list[KeptHost]]:
    used = [
        host
        for host in snapshot.fleet.hosts
        if 0 < host.tasks <= MOST_TASKS and host.traits.lifecycle is Lifecycle.ACTIVE
    ]
    fresh, kept = [], []
    for host in sorted(used, key=lambda one: (one.tasks, one.host_id)):
        row = known.get(host.host_id)
        if row is not None and row.by == BY and row.changed_at and row.changed_at > now - PAUSE:
            told = f"it is left alone until {row.changed_at + PAUSE:%H:%M:%S} UTC: {row.reason}"
            kept.append(KeptHost(host_id=host.host_id, sentence=told))
        else:
            fresh.append(host)
    return fresh[:TRIED], kept


def _moves(
    session: Session, hosts: Sequence[str], rules: Rules, now: datetime
) -> tuple[list[Move], list[KeptHost]]:
    """What would have to move of each host; hosts that a budget keeps as they are."""
    query = (
        select(AttemptRow, JobRow.service_id, JobRow.workflow_id)
        .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
        .where(col(AttemptRow.reserved).is_(True), col(AttemptRow.host_id).in_(hosts))
        .order_by(col(AttemptRow.id))
    )
    rows = session.exec(query).all()
    shapes = JobShapes().of(session, {row.job_id for row, _, _ in rows})
    numbers = [row.id or 0 for row, _, _ in rows]
    gates = disruption_gates.load(session, numbers, now=now, cause=Cause.DEFRAGMENTATION)
    moves, held = [], dict[str, KeptHost]()
    for row, service, workflow_id in rows:
        host, number, shape = row.host_id or "", row.id or 0, shapes[row.job_id]
        refusal = gates.gate(number).refusal(number, now) if number in gates.wanted else None
        movable = _goes_in_time(refusal, now + rules.deadline)
        if refusal is not None and not movable:
            sentence = f"{workflow_id} stays: {refusal.sentence}"
            held.setdefault(host, KeptHost(host_id=host, sentence=sentence))
        request = Request(number, shape.shape, shape.name)
        moves.append(Move(request, host, _cost(row, service, now), movable))
    return moves, list(held.values())


def _goes_in_time(refusal: Refusal | None, deadline: datetime) -> bool:
    return refusal is None or (refusal.until is not None and refusal.until <= deadline)


def _cost(row: AttemptRow, service_id: str | None, now: datetime) -> float:
    """Minutes of work that are lost, and one: of a copy of a service none is."""
    if service_id is not None or row.started_at is None:
        return 1.0
    return 1.0 + max(0.0, (now - row.started_at).total_seconds() / 60)


def document(session: Session, seen: Round, rules: Rules) -> DefragmentationDocument:
    """What people are told of a round."""
    freed, way = seen.freed, seen.under_way
    targets = freed.emptying.targets if freed else {}
    names = _names(session, [*targets, *([freed.request_id] if freed and freed.request_id else [])])
    moves = [
        PlannedMove(workflow_id=names[number][0], index=names[number][1], host_id=host)
        for number, host in sorted(targets.items())
        if number in names
    ]
    room_for = names.get(freed.request_id or 0, ("", 0))[0] if freed else ""
    hosts = seen.snapshot.fleet.hosts
    return DefragmentationDocument(
        enabled=rules.enabled,
        sentence=_sentence(seen, room_for),
        under_way=way.host_id if way else "",
        since=way.changed_at if way else None,
        host_id=freed.emptying.host_id if freed else None,
        moves=moves,
        room_for=room_for,
        hosts=len(hosts),
        used=sum(host.tasks > 0 for host in hosts),
        kept=list(seen.kept),
    )


def request(session: Session, seen: Round, rules: Rules) -> DrainRequest | None:
    """What its host is asked for to begin the round; None where there is none."""
    if seen.freed is None:
        return None
    found = seen.freed.request_id
    room_for = _names(session, [found])[found][0] if found is not None else ""
    return DrainRequest(
        by=BY,
        reason=_reason(seen.freed, room_for),
        parallel=rules.parallel,
        deadline_seconds=rules.deadline.total_seconds(),
        cause=Cause.DEFRAGMENTATION,
    )


def _sentence(seen: Round, room_for: str) -> str:
    if seen.under_way is not None:
        return f"host {seen.under_way.host_id} is being emptied: {seen.under_way.reason}"
    if seen.silent:
        return f"{seen.silent} hosts do not answer: nothing is moved meanwhile"
    if seen.freed is None:
        return "no host could be emptied onto the others that are used, within the budgets"
    return f"empty host {seen.freed.emptying.host_id}: {_reason(seen.freed, room_for)}"


def _reason(freed: Freed, room_for: str) -> str:
    """Why a host is emptied, in a sentence."""
    count = len(freed.emptying.targets)
    what = f"its {count} tasks have" if count > 1 else "its task has"
    aim = f"{room_for} waits for it" if room_for else "it is free then"
    return f"{what} room on hosts that are used, and {aim}"


def _names(session: Session, numbers: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The workflow and index of attempts."""
    query = (
        select(AttemptRow.id, JobRow.workflow_id, AttemptRow.index)
        .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
        .where(among(session, AttemptRow.id, numbers))
    )
    return {number or 0: (name, index) for number, name, index in session.exec(query)}

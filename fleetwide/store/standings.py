"""How hosts stand: what people want of them, whether they answer, and the valve on losing them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.containers.valve import Silence, ValveRules, sentence, vanished_together
from fleetwide.models.host_moves import HostChange, ValveState
from fleetwide.models.hosts import ANSWERS, HostState
from fleetwide.models.task_states import TaskState
from fleetwide.store import events
from fleetwide.store.fleet_tables import HostStandingRow, LostValveRow
from fleetwide.store.hosts import find_locked, set_state
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

VALVE = "fleet"
VALVE_SUBJECT = "fleet/valve"


def standing(session: Session, host_id: str) -> HostStandingRow:
    """The host's row here; one that nobody has decided about is wanted active."""
    return session.get(HostStandingRow, host_id) or HostStandingRow(host_id=host_id)


def standings(session: Session) -> dict[str, HostStandingRow]:
    """All rows, by host id."""
    return {row.host_id: row for row in session.exec(select(HostStandingRow))}


def answers(session: Session, host_id: str, *, now: datetime) -> HostStandingRow:
    """The host answers: its state is what people want of it; a removed one begins anew."""
    row = standing(session, host_id)
    if row.wanted == HostState.REMOVED:
        row.wanted, row.by, row.reason, row.changed_at = HostState.ACTIVE, "", "", now
    row.silent_since = row.gone_at = None
    session.add(row)
    return row


def change(session: Session, wanted: HostChange, *, now: datetime) -> None:
    """Write down what people want of the host; one event, with who and why.

    A host that does not answer stays Disconnected or Lost, and is what is wanted on its return.
    """
    host = find_locked(session, wanted.host_id)
    row = standing(session, wanted.host_id)
    row.wanted, row.by, row.reason, row.changed_at = wanted.wanted, wanted.by, wanted.reason, now
    if wanted.gone:
        row.gone_at = row.gone_at or now
    session.add(row)
    events.append(
        session,
        f"host/{wanted.host_id}",
        "standing",
        f"{wanted.wanted} is wanted{_words(wanted.by, wanted.reason)}",
        at=now,
        data={"wanted": wanted.wanted, "by": wanted.by, "reason": wanted.reason},
    )
    if host is None:
        return
    if wanted.wanted is HostState.REMOVED:
        row.silent_since = None
        set_state(session, host, HostState.REMOVED, now=now)
    elif host.state in ANSWERS and host.state != wanted.wanted:
        set_state(session, host, wanted.wanted, now=now)


def _words(by: str, reason: str) -> str:
    return (f" by {by}" if by else "") + (f": {reason}" if reason else "")


def falls_silent(session: Session, host: HostRow, *, now: datetime) -> None:
    """The host answers no more; its row is locked (``hosts.find_locked``)."""
    if host.state not in ANSWERS:
        return
    row = standing(session, host.host_id)
    row.silent_since = row.silent_since or now
    session.add(row)
    set_state(session, host, HostState.DISCONNECTED, now=now)


def lose(session: Session, host: HostRow, *, now: datetime) -> None:
    """A silent host is given up; its row is locked (``hosts.find_locked``)."""
    if host.state == HostState.DISCONNECTED:
        set_state(session, host, HostState.LOST, now=now)


def on_host(session: Session, host_id: str) -> Sequence[AttemptRow]:
    """Live attempts that hold something of the host, the oldest first."""
    query = select(AttemptRow).where(
        AttemptRow.host_id == host_id, col(AttemptRow.reserved).is_(True)
    )
    return session.exec(query.order_by(col(AttemptRow.id))).all()


@dataclass(frozen=True)
class LeftBehind:
    """An attempt that holds something of a host, and does not end yet."""

    workflow_id: str
    kind: str
    index: int


def left_behind(session: Session, host_id: str) -> Sequence[LeftBehind]:
    """Attempts of a host that nobody has asked to end, the oldest first."""
    query = (
        select(JobRow.workflow_id, JobRow.kind, AttemptRow.index)
        .where(
            AttemptRow.host_id == host_id,
            col(AttemptRow.reserved).is_(True),
            col(AttemptRow.state).not_in([TaskState.KILL_INITIATED, TaskState.FINISHED]),
            AttemptRow.job_id == JobRow.id,
        )
        .order_by(col(AttemptRow.id))
    )
    return [LeftBehind(*found) for found in session.exec(query)]


def valve_row(session: Session, *, now: datetime) -> LostValveRow:
    """The valve as it was last seen."""
    return session.get(LostValveRow, VALVE) or LostValveRow(name=VALVE, changed_at=now)


def valve(session: Session, rules: ValveRules, *, now: datetime) -> ValveState:
    """Whether anything may be given up as lost now: from the hosts' states alone."""
    silences, fleet = _silences(session)
    row = valve_row(session, now=now)
    held = vanished_together(silences, fleet, rules, row.released_at)
    return ValveState(
        frozen=bool(held),
        silent=[one.host_id for one in held],
        fleet=fleet,
        since=held[0].since if held else None,
        sentence=sentence(held, fleet) if held else "",
        released_at=row.released_at,
        released_by=row.released_by,
        released_because=row.released_because,
    )


def _silences(session: Session) -> tuple[list[Silence], int]:
    counted = [*ANSWERS, HostState.DISCONNECTED]
    query = (
        select(HostRow.host_id, HostRow.state, HostStandingRow.silent_since)
        .outerjoin(HostStandingRow, col(HostStandingRow.host_id) == col(HostRow.host_id))
        .where(col(HostRow.state).in_(counted))
    )
    found: Iterable[tuple[str, str, datetime | None]] = session.exec(query).all()
    rows = list(found)
    silences = [
        Silence(host_id, since)
        for host_id, state, since in rows
        if state == HostState.DISCONNECTED and since is not None
    ]
    return silences, len(rows)


def note_valve(session: Session, rules: ValveRules, *, now: datetime) -> ValveState:
    """Look at the valve, and write an event when it closed or opened since the last look."""
    state, row = valve(session, rules, now=now), valve_row(session, now=now)
    if state.frozen != row.frozen:
        kind = "frozen" if state.frozen else "released"
        message = state.sentence or "hosts may be given up as lost again"
        data = {"hosts": state.silent or row.silent, "fleet": state.fleet}
        events.append(session, VALVE_SUBJECT, kind, message, at=now, data=data)
        row.frozen, row.changed_at = state.frozen, now
        row.silent = state.silent
        session.add(row)
    return state


def release_valve(session: Session, by: str, reason: str, *, now: datetime) -> None:
    """An operator says that what is silent now may be given up."""
    row = valve_row(session, now=now)
    row.released_at, row.released_by, row.released_because = now, by, reason
    session.add(row)
    events.append(
        session,
        VALVE_SUBJECT,
        "operatorReleased",
        f"hosts that are silent now may be given up{_words(by, reason)}",
        at=now,
        data={"by": by, "reason": reason},
    )

"""Why a row waits: one code, the numbers, its place in the queue, and what would start it sooner.

Found out when somebody asks, from the state as the last round has left it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from fleetwide.batch.scheduling.ledger import need_of
from fleetwide.batch.scheduling.lines import rank
from fleetwide.batch.scheduling.state import State
from fleetwide.batch.scheduling.tree import Ordering, StopMode
from fleetwide.batch.scheduling.work import Pending, Reservation, RowKey
from fleetwide.containers.placement.amounts import Dimension


class WaitCode(StrEnum):
    """The first thing that keeps a row from starting, in the order of asking."""

    HELD = "Held"
    QUEUE_STOPPED = "QueueStopped"
    ARRAY_THROTTLE = "ArrayThrottle"
    QUOTA_EXCEEDED = "QuotaExceeded"
    LENT_TO_NOBODY = "LentToNobody"
    """What is free is kept by queues that do not lend it."""
    PREEMPTION_PENDING = "PreemptionPending"
    NEVER_FITS = "NeverFits"
    """Not on empty hosts either."""
    RESERVED = "Reserved"
    NO_HOST_FITS = "NoHostFits"
    BEHIND_HEAD = "BehindHead"
    """Its queue is strict, and one before it waits."""
    WOULD_DELAY = "WouldDelay"
    """It would fit, and may still run when a reserved job is to start."""
    ITS_TURN_COMES = "ItsTurnComes"
    """It fits: the next round starts it."""


class Sooner(StrEnum):
    """What somebody could do about it."""

    RELEASE = "release the job"
    OPEN_QUEUE = "open the queue"
    MORE_AT_A_TIME = "let more tasks of the job run at a time"
    RAISE_LIMIT = "raise the limit of the queue"
    ASK_FOR_LESS = "ask for less, or add larger hosts"
    SHORTER = "expect a shorter run"
    WAIT = "nothing: it will start by itself"


@dataclass(frozen=True)
class Wait:
    """Why a row waits. Amounts are in the units of ``Amounts``."""

    code: WaitCode
    sooner: Sooner
    queue: str = ""
    """The queue that stands in the way, where it is one."""
    dimension: Dimension | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    position: int = 0
    """Rows of its queue that come before it."""
    tasks_ahead: int = 0
    """Tasks of those rows."""


def why(state: State, key: RowKey, now: float, reservation: Reservation | None) -> Wait:
    """Why a row waits. Raises ``KeyError`` when it does not."""
    row = state.rows[key]
    found = _by_word(state, row) or _by_quota(state, row)
    found = found or _promised(state, row, now, reservation) or _by_room(state, row)
    found = found or _by_others(state, row, now, reservation)
    rows, tasks = _ahead(state, row, now)
    return replace(found, position=rows, tasks_ahead=tasks)


def _by_word(state: State, row: Pending) -> Wait | None:
    """Somebody has said that it is not to start."""
    if row.held:
        return Wait(WaitCode.HELD, Sooner.RELEASE)
    for number in state.tree.line_of[state.tree.number(row.queue)]:
        node = state.tree.nodes[number]
        if node.stop is not StopMode.OPEN:
            return Wait(WaitCode.QUEUE_STOPPED, Sooner.OPEN_QUEUE, node.path)
    running = state.ledger.of_job[row.job]
    if row.at_most is not None and running >= row.at_most:
        told = {"running": running, "atMost": row.at_most}
        return Wait(WaitCode.ARRAY_THROTTLE, Sooner.MORE_AT_A_TIME, numbers=told)
    return None


def _by_quota(state: State, row: Pending) -> Wait | None:
    bound = state.ledger.bound(row)
    if bound is not None:
        told = {"missing": bound.missing, "limit": bound.limit}
        code = WaitCode.QUOTA_EXCEEDED
        return Wait(code, Sooner.RAISE_LIMIT, bound.path, bound.dimension, told)
    if state.ledger.allowed(row, row.unit) < row.unit:
        return Wait(WaitCode.LENT_TO_NOBODY, Sooner.WAIT)
    return None


def _promised(
    state: State, row: Pending, now: float, reservation: Reservation | None
) -> Wait | None:
    pins = [pin for pin in state.pins if pin.row == row.key]
    if pins:
        hosts = {pin.host for pin in pins}
        gone = [task.leaving for task in state.leaving.values() if task.host in hosts]
        at = max((each for each in gone if each is not None), default=now)
        told = {"tasks": sum(pin.count for pin in pins), "startsIn": max(at - now, 0.0)}
        return Wait(WaitCode.PREEMPTION_PENDING, Sooner.WAIT, numbers=told)
    if reservation is not None and reservation.row == row.key:
        told = {"startsIn": max(reservation.at - now, 0.0)}
        return Wait(WaitCode.RESERVED, Sooner.WAIT, numbers=told)
    return None


def _by_room(state: State, row: Pending) -> Wait | None:
    """What the host that comes nearest has free of the resource that is lacking most."""
    room, need = state.room, need_of(row)
    suits = room.suits(row.shape)
    empty, free = _fits(room.total, row, suits), _fits(room.free, row, suits)
    if empty < row.unit:
        told = {"fits": empty, "together": row.unit}
        return Wait(WaitCode.NEVER_FITS, Sooner.ASK_FOR_LESS, numbers=told)
    if free >= row.unit:
        return None
    lacks = [(int(room.free[each][suits].max()) / amount, each) for each, amount in need]
    _, scarce = min(lacks)
    told = {
        "asked": dict(need)[scarce],
        "largestFree": int(room.free[scarce][suits].max()),
        "fits": free,
        "together": row.unit,
    }
    code, dimension = WaitCode.NO_HOST_FITS, Dimension(scarce)
    return Wait(code, Sooner.ASK_FOR_LESS, dimension=dimension, numbers=told)


def _fits(
    amounts: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
    row: Pending,
    suits: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]",
) -> int:
    """How many of the tasks that start together fit."""
    rooms = np.where(suits, row.unit, 0)
    for each, amount in need_of(row):
        rooms = np.minimum(rooms, amounts[each] // amount)
    return int(rooms.clip(0).sum())


def _by_others(state: State, row: Pending, now: float, reservation: Reservation | None) -> Wait:
    leaf = state.tree.number(row.queue)
    first = state.first(leaf, now)
    strict = state.tree.nodes[leaf].ordering is Ordering.STRICT
    if strict and first is not None and first.key != row.key:
        return Wait(WaitCode.BEHIND_HEAD, Sooner.WAIT, row.queue)
    if reservation is not None:
        told = {"shorterThan": max(reservation.at - now, 0.0)}
        return Wait(WaitCode.WOULD_DELAY, Sooner.SHORTER, numbers=told)
    return Wait(WaitCode.ITS_TURN_COMES, Sooner.WAIT)


def _ahead(state: State, row: Pending, now: float) -> tuple[int, int]:
    """How many rows of the queue, and tasks of them, come before a row."""
    leaf = state.tree.number(row.queue)
    since = now - state.rules.overdue_seconds

    def share_of(owner: str) -> float:
        return state.ledger.owner_share(leaf, owner)

    own = rank(row, share_of, since)
    ahead = [
        each.count
        for rows in state.lines[leaf].groups.values()
        for each in rows
        if rank(each, share_of, since) < own
    ]
    return len(ahead), sum(ahead)

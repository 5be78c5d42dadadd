"""Preemption: who has to leave, so that a job that waits too long gets what it may count on.

After all that fits has started. A set of victims is found in the order of ``Victims``, whoever is
not needed is left alone, and then all conditions are looked at again for the set as it is: a set
that fails is dropped as a whole. What becomes free is pinned to the job that it was made for.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

import numpy as np

from fleetwide.batch.scheduling.ledger import need_of
from fleetwide.batch.scheduling.room import Placed
from fleetwide.batch.scheduling.shares import dominant
from fleetwide.batch.scheduling.state import State
from fleetwide.batch.scheduling.tree import StopMode
from fleetwide.batch.scheduling.victims import Shared, Unit, Victims
from fleetwide.batch.scheduling.work import (
    Eviction,
    Pending,
    Pin,
    Reservation,
    RowKey,
    Tier,
)

MOST_LOOKS = 512
"""Units that are looked at for one job."""
MOST_TRIES = 64
"""Jobs of a round for which victims are looked for."""
MOST_GRACE = 600.0
MINUTE = 60.0

Kept = list[tuple[Pending, Placed]]
Chosen = list[tuple[Unit, Tier]]


class Preemptions:
    """The preemptions of one round. ``held`` is what is kept for jobs that come; it gets more."""

    def __init__(self, state: State, now: float, held: Kept) -> None:
        self.state = state
        self.now = now
        self.held = held
        state.preempted = [each for each in state.preempted if each[0] > now - MINUTE]
        self.spent = sum(share for _, share in state.preempted)
        self.found: list[Eviction] = []
        self.shared = Shared()
        self.drains = any(node.stop is StopMode.DRAIN for node in state.tree)

    def decide(self, reservation: Reservation | None) -> list[Eviction]:
        """Evictions, whose pins and holds are noted. The tasks still count as running after it."""
        if not self.state.tasks or self.spent >= self.state.rules.preempt_share_per_minute:
            return []
        going = [Unit(-1, (task,)) for task in self.state.leaving.values()]
        for unit in going:
            self._count(unit, -1)
        tries = 0
        for row in self._waiting(reservation):
            tries += self._try(row, going)
            if tries >= MOST_TRIES:
                break
        for unit in going:
            self._count(unit, 1)
        return self.found

    def _count(self, unit: Unit, sign: int) -> None:
        """Count tasks that leave as gone, or as there again."""
        room = self.state.room
        for task in unit.tasks:
            self.state.ledger.book(task.row, sign)
            host = room.index.get(task.host)
            if host is not None:
                room.take(task.row.shape, Placed(host, sign), outlasts=False)

    def _waiting(self, reservation: Reservation | None) -> Iterator[Pending]:
        """The head of each leaf that has waited for long enough, the neediest leaf first."""
        state, rules = self.state, self.state.rules
        pinned = _pinned(state.pins)
        soon = self.now + rules.preempt_after_seconds
        for leaf in self._neediest_first():
            row = state.first(leaf, self.now)
            if row is None or pinned[row.key] >= row.count or not self._patient(row):
                continue
            if reservation is not None and reservation.row == row.key and reservation.at <= soon:
                continue
            yield row

    def _neediest_first(self) -> list[int]:
        """The leaves that could win anything: those first that lack what they are guaranteed."""
        state, ledger = self.state, self.state.ledger
        leaves = {leaf for asking in state.asking.values() for leaf in asking}
        shares = [ledger.share(number, ledger.used[number]) for number in range(len(state.tree))]
        tops = [
            max((shares[each] for each in below), default=0.0) for below in state.tree.children_of
        ]
        order = [
            (not self._lacks(leaf), shares[leaf], leaf)
            for leaf in leaves
            if state.open(leaf) and self._could_win(leaf, shares, tops)
        ]
        return [leaf for _, _, leaf in sorted(order)]

    def _lacks(self, leaf: int) -> bool:
        used = self.state.ledger.used[leaf]
        return any(
            used[each] < most for each, most in self.state.tree.nodes[leaf].guarantee.items()
        )

    def _could_win(self, leaf: int, shares: list[float], tops: list[float]) -> bool:
        """A quick look that no leaf fails for which there are victims."""
        state, line = self.state, self.state.tree.line_of[leaf]
        if self._lacks(leaf) or self.drains:
            return True
        margin = state.rules.fairness_margin
        if any(shares[own] + margin <= tops[up] for own, up in pairwise(line)):
            return True
        row = state.first(leaf, self.now)
        tasks = state.tasks_of[leaf].values()
        return row is not None and any(task.row.priority < row.priority for task in tasks)

    def _patient(self, row: Pending) -> bool:
        waited = self.now - row.submitted
        return waited >= self.state.rules.preempt_after_seconds and row.preempts_from <= self.now

    def _try(self, row: Pending, going: list[Unit]) -> int:
        """Preempt for the tasks of a row while that is allowed and helps; how often it looked."""
        units = (row.count - _pinned(self.state.pins)[row.key]) // row.unit
        looked = 0
        for _ in range(units):
            looked += 1
            if looked > MOST_TRIES or not self._take(row, going):
                break
        return looked

    def _take(self, row: Pending, going: list[Unit]) -> bool:
        """Choose victims for one unit of a row; whether there are any."""
        search = _Search(self.state, row, self.now, self.shared)
        chosen = search.run()
        if chosen is not None and self._within_rate(chosen):
            for unit, tier in chosen:
                going.append(unit)
                self.shared.gone.update(task.key for task in unit.tasks)
                for task in unit.tasks:
                    by = self.now + min(max(task.row.grace_seconds, 0.0), MOST_GRACE)
                    self.found.append(Eviction(task.key, row.key, tier, by))
            self._pin(row, search)
            return True
        for unit, _ in chosen or ():
            self._count(unit, 1)
        return False

    def _within_rate(self, chosen: Chosen) -> bool:
        """Whether so much may be preempted now; once in a minute anything may."""
        capacity = self.state.ledger.capacity
        share = sum(
            dominant(unit.row.shape.amounts.vector, capacity) * len(unit.tasks)
            for unit, _ in chosen
        )
        if self.spent > 0 and self.spent + share > self.state.rules.preempt_share_per_minute:
            return False
        self.spent += share
        self.state.preempted.append((self.now, share))
        return True

    def _pin(self, row: Pending, search: "_Search") -> None:
        names = self.state.room.names
        for place in search.places():
            self.state.pins.append(Pin(row.key, names[place.host], place.tasks))
            self.state.room.take(row.shape, place, outlasts=False)
            self.state.ledger.book(row, place.tasks)
            self.held.append((row, place))


def _pinned(pins: Sequence[Pin]) -> Counter[RowKey]:
    """How many tasks of each row have room pinned."""
    counts: Counter[RowKey] = Counter()
    for pin in pins:
        counts[pin.row] += pin.count
    return counts


@dataclass
class _Search:
    """The victims of one row. Those that are chosen count as gone until somebody counts them."""

    state: State
    row: Pending
    now: float
    shared: Shared
    touched: dict[int, None] = field(default_factory=dict)
    """Hosts that victims leave, in the order of finding them."""

    def __post_init__(self) -> None:
        self.need = need_of(self.row)
        self.suits = self.state.room.suits(self.row.shape)
        self.victims = Victims(self.state, self.row, self.now, self.shared)
        self.rooms = np.where(self.suits, self._rooms(), 0)
        """How many tasks of the row fit on each host."""
        self.fits = int(self.rooms.sum())

    def _rooms(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        free = self.state.room.free
        rooms = np.full(free.shape[1], self.row.unit, dtype=np.int64)
        for each, amount in self.need:
            rooms = np.minimum(rooms, free[each] // amount)
        return rooms.clip(0)

    def run(self) -> Chosen | None:
        """Victims that are enough and that all conditions allow; None if there are none."""
        if self.enough() or self.state.room.names == ():
            return None
        chosen: Chosen = []
        for unit in islice(self.victims.units(), MOST_LOOKS):
            tier = self._useful(unit)
            if tier is None:
                continue
            chosen.append((unit, tier))
            self._move(unit, -1)
            if self.enough():
                chosen = self._needed(chosen)
                if self._still_right(chosen):
                    return chosen
                break
        for unit, _ in chosen:
            self._move(unit, 1)
        return None

    def enough(self) -> bool:
        row = self.row
        return self.fits >= row.unit and self.state.ledger.allowed(row, row.unit) >= row.unit

    def _useful(self, unit: Unit) -> Tier | None:
        """The tier in which a unit may be taken, if it brings the row nearer to a start."""
        short: set[int] = set()
        for task in unit.tasks:
            host = self.state.room.index.get(task.host)
            if host is not None and self.suits[host]:
                short |= self._short(host) & {each for each, _ in need_of(task.row)}
        limited = self.fits >= self.row.unit
        if not short and not limited:
            return None
        return self.victims.tier(unit, frozenset(short))

    def _short(self, host: int) -> set[int]:
        """What a host lacks to take one more task of the row."""
        free, wanted = self.state.room.free, int(self.rooms[host]) + 1
        return {each for each, amount in self.need if free[each, host] < amount * wanted}

    def _move(self, unit: Unit, sign: int) -> None:
        """Count a unit as gone, or as there again."""
        room = self.state.room
        self.state.ledger.book(unit.row, sign * len(unit.tasks))
        for task in unit.tasks:
            host = room.index.get(task.host)
            if host is None:
                continue
            room.take(unit.row.shape, Placed(host, sign), outlasts=False)
            if sign < 0:
                self.touched.setdefault(host)
            if self.suits[host]:
                self._look_again(host)

    def _look_again(self, host: int) -> None:
        free = self.state.room.free
        fits = min(
            (max(int(free[each, host]) // amount, 0) for each, amount in self.need),
            default=self.row.unit,
        )
        fits = min(fits, self.row.unit)
        self.fits += fits - int(self.rooms[host])
        self.rooms[host] = fits

    def _needed(self, chosen: Chosen) -> Chosen:
        """Without those that can stay: the last one chosen is looked at first."""
        kept: Chosen = []
        for unit, tier in reversed(chosen):
            self._move(unit, 1)
            if self.enough():
                continue
            self._move(unit, -1)
            kept.append((unit, tier))
        return kept[::-1]

    def _still_right(self, chosen: Chosen) -> bool:
        """Whether each victim may be taken when all the others are gone.

        What the row is short of is what it would lack without that one.
        """
        for unit, tier in chosen:
            self._move(unit, 1)
            again = self._useful(unit)
            self._move(unit, -1)
            if again is None or again > tier:
                return False
        return bool(chosen)

    def places(self) -> Sequence[Placed]:
        """Where the row goes: first where somebody leaves."""
        rest = [host for host in np.flatnonzero(self.rooms).tolist() if host not in self.touched]
        left, placed = self.row.unit, list[Placed]()
        for host in (*self.touched, *rest):
            count = min(left, int(self.rooms[host]))
            if count:
                placed.append(Placed(host, count))
                left -= count
        return placed

"""One round: who starts where, who has to leave for whom, who gets a reservation."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from fleetwide.batch.scheduling.ledger import need_of
from fleetwide.batch.scheduling.lines import Heads
from fleetwide.batch.scheduling.preemption import Preemptions
from fleetwide.batch.scheduling.reserve import earliest
from fleetwide.batch.scheduling.room import Placed
from fleetwide.batch.scheduling.state import State, nothing_is_vain
from fleetwide.batch.scheduling.tree import Ordering
from fleetwide.batch.scheduling.turns import Head, Turns
from fleetwide.batch.scheduling.work import Pending, Pin, Reservation, Round, RowKey, Start
from fleetwide.containers.placement.requests import Shape

Signature = tuple[Shape, int, bool]
"""What decides whether something fits: its shape, the size of a gang, whether it outlasts."""

MANY = 16
"""After so many turns since something became full it is looked anew at who may ask."""
MOST_AGAIN = 16


def decide(state: State, now: float) -> Round:
    """Decide a round, and change the state as if all of it had been done."""
    return _Deciding(state, now).round()


class _Deciding:
    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.starts: list[Start] = []
        self.full: set[Signature] = set()
        self.lines: dict[int, Heads] = {}
        """The leaves that had a turn."""
        self.nowhere: set[Shape] = set()
        """Shapes of which no host has room for one."""
        self.stuck: set[int] = set()
        """Strict queues whose head cannot start."""
        self.closed: set[int] = set()
        """Queues below which an overdue job waits for a limit."""
        self.limited: set[int] = set()
        """Leaves that a limit kept from something."""
        self.served = False
        """Whether the one who gets the reservation is known."""
        self.again = MOST_AGAIN
        self.never: set[tuple[Shape, int]] = set()
        """What does not fit on empty hosts either."""
        self.reservation: Reservation | None = None
        self.held: list[tuple[Pending, Placed]] = []
        """What is kept for those whom others leave room for: booked until the round is over."""

    def round(self) -> Round:
        state = self.state
        state.room.spare = None
        self._pinned()
        self._reserved_before()
        self._serve()
        state.reserved = None if self.reservation is None else self.reservation.row
        state.room.spare = None
        evictions = Preemptions(state, self.now, self.held).decide(self.reservation)
        self._give_back()
        for eviction in evictions:
            state.leave(eviction.task, eviction.leave_by)
        if state.reserved in {pin.row for pin in state.pins}:
            state.reserved, self.reservation = None, None
        return Round(tuple(self.starts), tuple(evictions), tuple(state.pins), self.reservation)

    def _pinned(self) -> None:
        """Start those whose room is free by now; keep what is free of it for the others."""
        state = self.state
        waited_for = Counter(task.host for task in state.leaving.values())
        for key in dict.fromkeys(pin.row for pin in state.pins):
            pins = [pin for pin in state.pins if pin.row == key]
            state.pins = [pin for pin in state.pins if pin.row != key]
            row = state.rows.get(key)
            known = [pin for pin in pins if pin.host in state.room.index]
            if row is None or row.held or not state.open(state.tree.number(row.queue)):
                continue
            self._start_pinned(row, known, waited_for)

    def _start_pinned(self, row: Pending, pins: list[Pin], waited_for: Mapping[str, int]) -> None:
        """A gang starts when all of its pins are free; else each task by itself."""
        state, index = self.state, self.state.room.index
        places = [Placed(index[pin.host], pin.count) for pin in pins]
        ready = [place for place in places if self._is_free(row, place)]
        total = sum(place.tasks for place in ready)
        if row.gang and total < row.count:
            ready = []
        if ready and state.ledger.allowed(row, total) >= total:
            for place in ready:
                state.room.take(row.shape, place, outlasts=False)
            self.starts += state.start(row, ready, self.now)
            row = replace(row, first=row.first + total, count=row.count - total)
        else:
            ready = []
        rest = [each for each in zip(pins, places, strict=True) if each[1] not in ready]
        if row.count and any(waited_for.get(pin.host) for pin, _ in rest):
            for pin, place in rest:
                state.pins.append(replace(pin, row=row.key))
                self._keep(row, place)

    def _is_free(self, row: Pending, place: Placed) -> bool:
        free = self.state.room.free
        return all(free[each, place.host] >= a * place.tasks for each, a in need_of(row))

    def _keep(self, row: Pending, place: Placed) -> None:
        """Book room for tasks that come, also where it is not free yet."""
        self.state.room.take(row.shape, place, outlasts=False)
        self.state.ledger.book(row, place.tasks)
        self.held.append((row, place))

    def _give_back(self) -> None:
        for row, (host, count) in self.held:
            self.state.room.take(row.shape, Placed(host, -count), outlasts=False)
            self.state.ledger.book(row, -count)

    def _reserved_before(self) -> None:
        """Who has a reservation keeps it until it starts."""
        state = self.state
        row = None if state.reserved is None else state.rows.get(state.reserved)
        state.reserved = None
        if row is None or row.held or any(pin.row == row.key for pin in state.pins):
            return
        if not state.open(state.tree.number(row.queue)):
            return
        if state.ledger.allowed(row, row.unit) < row.unit:
            return
        placed = self._fit(row, row.unit)
        if placed:
            self.starts += state.start(row, placed, self.now)
        else:
            self._reserve(row)

    def _serve(self) -> None:
        """Start what can be started, the neediest first, until nobody has anything that can.

        The first job that fits nowhere gets a reservation. From then on what fits nowhere need not
        be looked at: so most queues are left out of a round in which little has changed.
        """
        if self.reservation is None:
            self._serve_all(until_reserved=True)
        while not self._serve_all(until_reserved=False):
            pass

    def _serve_all(self, *, until_reserved: bool) -> bool:
        """Give out turns; False when it is worth while to look anew at who may ask.

        It is when many ask and something has become full: else each would find out by a turn.
        """
        self.served = not until_reserved
        if self.served:
            self._look_for_room()
        self.lines = {}
        heads = self._heads()
        turns = Turns(self.state.ledger, heads, self._blocked(heads), self.state.past)
        full, vain = len(self.full), 0
        while (leaf := turns.next()) is not None:
            line, vain = self._line(leaf), vain + (len(self.full) > full)
            if vain > MANY and self.again:
                self.again -= 1
                return False
            head = self._head(leaf, line)
            if head != turns.heads[leaf]:  # others have taken what it was to ask for
                turns.moved(leaf, head, fits_nowhere=True)
                continue
            self._turn(turns, leaf, line)
            if until_reserved and self.reservation is not None:
                return False
        return True

    def _line(self, leaf: int) -> Heads:
        if leaf not in self.lines:
            backfills = self.state.tree.nodes[leaf].ordering is Ordering.BACKFILL
            vain = self._vain if backfills else nothing_is_vain
            self.lines[leaf] = self.state.heads(leaf, self.now, vain)
        return self.lines[leaf]

    def _heads(self) -> dict[int, Head]:
        """The first rows of all leaves that are open and ask for anything that may fit."""
        state, found = self.state, dict[int, Head]()
        asking = (
            leaves
            for shape, leaves in state.asking.items()
            if not (self.served and shape in self.nowhere)
        )
        for leaf in sorted({leaf for leaves in asking for leaf in leaves}):
            row = state.first(leaf, self.now, self._vain)
            if row is not None and self._may_ask(leaf):
                found[leaf] = self._as_head(row)
        return found

    def _may_ask(self, leaf: int) -> bool:
        """Whether a leaf is open, and neither a strict head nor an overdue job stands before it."""
        state = self.state
        if not state.open(leaf) or not self.closed.isdisjoint(state.tree.line_of[leaf]):
            return False
        if state.tree.nodes[leaf].ordering is Ordering.BACKFILL:
            return True
        first = state.first(leaf, self.now)
        return leaf not in self.stuck and first is not None and not self._vain(first)

    def _look_for_room(self) -> None:
        for shape in self.state.asking:
            if shape not in self.nowhere and not self.state.room.fits_one(shape):
                self.nowhere.add(shape)

    def _blocked(self, heads: Mapping[int, Head]) -> frozenset[int]:
        """Leaves that ask for nothing but what fits nowhere."""
        if not self.nowhere:
            return frozenset()
        asking = {leaf for leaves in self.state.asking.values() for leaf in leaves}
        return frozenset(asking - heads.keys() - self.limited)

    def _head(self, leaf: int, line: Heads) -> Head | None:
        """The next row of a leaf; behind a head that fits nowhere a strict queue has none."""
        row = line.top()
        while row is not None and self._vain(row):
            if self._leave_out(leaf, line):
                return None
            row = line.top()
        if row is None:
            return None
        return self._as_head(row)

    def _as_head(self, row: Pending) -> Head:
        need = need_of(row)
        if row.unit > 1:
            need = [(each, amount * row.unit) for each, amount in need]
        overdue = row.submitted <= self.now - self.state.rules.overdue_seconds
        return Head(need, row.submitted if overdue else None)

    def _vain(self, row: Pending) -> bool:
        """Whether there is no use in a turn for a row: the first of them gets the reservation."""
        return self.served and self._is_vain(row)

    def _is_vain(self, row: Pending) -> bool:
        """Whether it is known that a row fits nowhere, or only so that it delays the reserved."""
        size = row.count if row.gang else 0
        return (
            row.shape in self.nowhere
            or (row.shape, size, False) in self.full
            or ((row.shape, size, True) in self.full and self._outlasts(row))
        )

    def _turn(self, turns: Turns, leaf: int, line: Heads) -> None:
        """What the neediest leaf does with its turn: something starts, or its head is left out."""
        state = self.state
        row = line.top()
        assert row is not None
        allowed = state.ledger.allowed(row, row.count)
        if allowed < row.unit:
            self._limited(turns, leaf, line, row)
            return
        placed = self._fit(row, self._wanted(turns, leaf, line, row, allowed))
        if placed:
            self.starts += state.start(row, placed, self.now)
            turns.moved(leaf, self._head(leaf, line))
            return
        if self.reservation is None:
            self._reserve(row)
        stuck = self._leave_out(leaf, line)
        turns.moved(leaf, None if stuck else self._head(leaf, line), fits_nowhere=True)

    def _wanted(self, turns: Turns, leaf: int, line: Heads, row: Pending, allowed: int) -> int:
        """How many tasks start in a row before somebody else's turn comes."""
        if row.gang or allowed == 1:
            return row.unit
        ledger = self.state.ledger
        each = max((a / (ledger.capacity[d] or 1) for d, a in need_of(row)), default=0.0)
        own = ledger.owner_share(leaf, row.owner)
        return turns.most(leaf, line.before_another_owner(allowed, own, each))

    def _fit(self, row: Pending, wanted: int) -> list[Placed]:
        """Places for some of the wanted tasks; for a gang all of them or none."""
        if self._is_vain(row):
            return []
        outlasts = self._outlasts(row)
        placed = self.state.room.fit(row.shape, wanted, outlasts=outlasts)
        if not placed and not outlasts:
            self.nowhere.add(row.shape)
        if sum(place.tasks for place in placed) < wanted:
            self.full.add((row.shape, row.count if row.gang else 0, outlasts))
            if row.gang:
                for host, count in placed:
                    self.state.room.take(row.shape, Placed(host, -count), outlasts=outlasts)
                return []
        return placed

    def _outlasts(self, row: Pending) -> bool:
        """Whether a task that starts now may still run when the reserved job is to start."""
        if self.reservation is None or self.reservation.row == row.key:
            return False
        return row.seconds is None or self.now + row.seconds > self.reservation.at

    def _limited(self, turns: Turns, leaf: int, line: Heads, row: Pending) -> None:
        """A limit stands in the way. Behind an overdue job nothing may use it up."""
        overdue = row.submitted <= self.now - self.state.rules.overdue_seconds
        bound = self.state.ledger.bound(row) if overdue else None
        if bound is not None:
            number = self.state.tree.number(bound.path)
            self.closed.add(number)
            turns.close(number)
        else:
            self.limited.add(leaf)
            stuck = self._leave_out(leaf, line)
            turns.moved(leaf, None if stuck else self._head(leaf, line))

    def _leave_out(self, leaf: int, line: Heads) -> bool:
        """Leave out the head of a leaf; whether the queue lets nothing pass it."""
        line.drop()
        if self.state.tree.nodes[leaf].ordering is Ordering.BACKFILL:
            return False
        self.stuck.add(leaf)
        return True

    def _reserve(self, row: Pending) -> None:
        size = row.count if row.gang else 0
        if (row.shape, size) in self.never:
            return
        found = earliest(self.state, row, self.now)
        if found is None:
            self.never.add((row.shape, size))
        else:
            at, placed = found
            names = self.state.room.names
            places = tuple((names[host], count) for host, count in placed)
            self.reservation = Reservation(RowKey(*row.key), at, places)

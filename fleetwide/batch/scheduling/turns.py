"""Whose turn it is: from the root down, among the queues that ask, to the neediest leaf.

First what is overdue, oldest first; then what is within a guarantee; then who has borrowed the
least for its weight, counted with the task that would start. The share of a queue with queues below
is that of hierarchical dominant-resource fairness: its children that ask count as if all of them
had the smallest share among them, and those that are blocked because their tasks fit nowhere do not
count. So nobody loses its turn to what a sibling has that wants other resources.

Everything is kept up to date along the one line that changed.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fleetwide.batch.scheduling.ledger import Ledger, Need

OVERDUE, GUARANTEED, BORROWING = -1, 0, 1
Key = tuple[int, float, int]


class Head(NamedTuple):
    """The next row of a leaf, as far as its turn matters."""

    need: Need
    """Of what has to start together."""
    overdue: float | None
    """Since when it waits, when that is too long ago."""


@dataclass(slots=True)
class _Place:
    """A queue in this round. ``share`` is without the task that would start."""

    asks: bool = False
    share: float = 0.0
    usage: Sequence[float] = ()
    """What it uses, as its parent counts it."""
    still: list[float] = field(default_factory=list)
    """Of queues with children: what children use that count as they are."""
    scaled: list[float] = field(default_factory=list)
    """The sum of the use of children that ask, each for one unit of its share."""
    heap: list[tuple[Key, int]] = field(default_factory=list)
    """Children that ask, the neediest first."""
    lows: list[tuple[float, int]] = field(default_factory=list)
    """The shares of children that ask; outdated ones are left out when they come up."""


NOT_THERE = _Place()
"""Stands for all leaves that are blocked: nobody looks at them."""


class Step(NamedTuple):
    """How a queue on the served line would stand."""

    number: int
    usage: Sequence[float]
    share: float
    key: Key


class Turns:
    """The order of service. ``heads`` has the leaves that ask."""

    def __init__(
        self,
        ledger: Ledger,
        heads: Mapping[int, Head],
        blocked: frozenset[int],
        past: Callable[[int], float],
    ) -> None:
        self.ledger = ledger
        self.tree = ledger.tree
        self.heads = dict(heads)
        self._past = past
        self._places = [
            _Place() if children or number in self.heads or number not in blocked else NOT_THERE
            for number, children in enumerate(self.tree.children_of)
        ]
        self._keys: dict[int, Key] = {}
        for number in range(len(self.tree) - 1, -1, -1):
            self._open(number, blocked)

    def _open(self, number: int, blocked: frozenset[int]) -> None:
        place = self._places[number]
        children = self.tree.children_of[number]
        if children:
            place.still, place.scaled = self._nothing(), self._nothing()
            for child in children:
                if child not in blocked:
                    self._count(place, child)
            heapq.heapify(place.heap)
            heapq.heapify(place.lows)
            place.asks = bool(place.heap)
            place.usage = self._usage(place, self._lowest(place, -1))
        elif number not in blocked:
            place.asks = number in self.heads
            place.usage = self.ledger.used[number].copy()
        if place.asks:
            place.share = self._share(number, place.usage)
            self._keys[number] = self._key(number, place.usage, 0)

    def _count(self, place: _Place, child: int) -> None:
        below = self._places[child]
        if below.asks:
            _add(place.scaled if below.share else place.still, below.usage, below.share)
            place.heap.append((self._keys[child], child))
            place.lows.append((below.share, child))
        else:
            _add(place.still, below.usage, 0.0)

    def _nothing(self) -> list[float]:
        return [0.0] * len(self.ledger.capacity)

    def _share(self, number: int, usage: Sequence[float]) -> float:
        return self.ledger.share(number, usage) + self._past(number)

    def next(self) -> int | None:
        """The leaf whose turn it is; None when none asks."""
        if not self._places[0].asks:
            return None
        number = 0
        while self.tree.children_of[number]:
            number = self._places[number].heap[0][1]
        return number

    def _leaf_below(self, number: int) -> int:
        while self.tree.children_of[number]:
            number = self._places[number].heap[0][1]
        return number

    def _key(self, number: int, usage: Sequence[float], more: int, child: Key | None = None) -> Key:
        """Where a queue stands with its next task, after ``more`` units of it have started."""
        leaf = self._leaf_below(number)
        need, overdue = self.heads[leaf]
        if overdue is not None:
            return (OVERDUE, overdue, leaf)
        after = list(usage)
        for each, amount in need:
            after[each] += amount
        share = self._share(number, after)
        if child is None and number != leaf:
            child = self._keys[self._places[number].heap[0][1]]
        sure = child is not None and child[0] == GUARANTEED
        if sure or self.ledger.within(number, need, more + 1):
            return (GUARANTEED, self._filled(number, need, more + 1), number)
        return (BORROWING, share, number)

    def _filled(self, number: int, need: Need, count: int) -> float:
        """The largest part of its guarantee that a queue would use."""
        used, sure = self.ledger.used[number], self.ledger.guarantees[number]
        return max(
            ((used[each] + amount * count) / sure[each] for each, amount in need if sure[each]),
            default=1.0,
        )

    def _lowest(self, place: _Place, without: int) -> float:
        """The smallest share among children that ask, but for one; infinite without any."""
        lows, aside = place.lows, None
        while lows:
            share, child = lows[0]
            known = self._places[child]
            if not known.asks or known.share != share or (aside and aside[1] == child):
                heapq.heappop(lows)
            elif child == without:
                aside = heapq.heappop(lows)
            else:
                break
        lowest = lows[0][0] if lows else float("inf")
        if aside:
            heapq.heappush(lows, aside)
        return lowest

    def _usage(self, place: _Place, lowest: float) -> list[float]:
        if lowest == float("inf"):
            return place.still.copy()
        return [
            still + lowest * scaled for still, scaled in zip(place.still, place.scaled, strict=True)
        ]

    def most(self, leaf: int, wanted: int) -> int:
        """How many units of a leaf's next row can start before somebody else's turn comes."""
        rivals = [
            min(heap[1:3])[0] if len(heap) > 1 else None
            for heap in (self._places[each].heap for each in self.tree.line_of[leaf][1:])
        ]
        if wanted == 1 or not any(rivals):
            return wanted
        known = 1
        while known < wanted and self._ahead(leaf, known, rivals):
            known = min(known * 2, wanted)
        low, high = max(known // 2, 1), known
        while low < high:
            middle = (low + high + 1) // 2
            ahead = self._ahead(leaf, middle - 1, rivals)
            low, high = (middle, high) if ahead else (low, middle - 1)
        return low

    def _ahead(self, leaf: int, more: int, rivals: list[Key | None]) -> bool:
        """Whether it is still the leaf's turn after some more units of its next row."""
        steps = self._steps(leaf, more)
        return all(
            rival is None or step.key < rival for step, rival in zip(steps, rivals, strict=False)
        )

    def _steps(self, leaf: int, more: int) -> list[Step]:
        """The line of a leaf, from it up, as if ``more`` units of its next row had started."""
        usage = [float(amount) for amount in self.ledger.used[leaf]]
        if more:
            for each, amount in self.heads[leaf].need:
                usage[each] += amount * more
        steps: list[Step] = []
        for number in self.tree.line_of[leaf]:
            if steps:
                usage = self._usage_with(number, steps[-1])
            child = steps[-1].key if steps else None
            key = self._key(number, usage, more, child)
            steps.append(Step(number, usage, self._share(number, usage), key))
        return steps

    def _usage_with(self, number: int, step: Step) -> list[float]:
        """What a queue uses when one of its children stands as it would."""
        place, before = self._places[number], self._places[step.number]
        still, scaled = place.still.copy(), place.scaled.copy()
        _add(scaled if before.share else still, before.usage, -before.share, -1.0)
        _add(scaled if step.share else still, step.usage, step.share)
        lowest = min(self._lowest(place, step.number), step.share)
        return [one + lowest * other for one, other in zip(still, scaled, strict=True)]

    def moved(self, leaf: int, head: Head | None, *, fits_nowhere: bool = False) -> None:
        """What is next in the served leaf, or that nothing is, after the ledger has changed."""
        if head is None:
            self.heads.pop(leaf, None)
        else:
            self.heads[leaf] = head
        usage = [float(amount) for amount in self.ledger.used[leaf]]
        asks, counts = head is not None, not fits_nowhere
        for number, parent in zip(
            self.tree.line_of[leaf], (*self.tree.line_of[leaf][1:], -1), strict=True
        ):
            place = self._places[number]
            if number != leaf:
                asks = bool(place.heap)
                usage = self._usage(place, self._lowest(place, -1))
            self._settle(parent, number, usage, asks=asks, counts=counts or number != leaf)

    def close(self, number: int) -> None:
        """Nothing below a queue on the served line starts any more in this round."""
        line = self.tree.line_of[number]
        place = self._places[number]
        place.heap.clear()
        for each, parent in zip(line, (*line[1:], -1), strict=True):
            below = self._places[each]
            asks = bool(below.heap) and each != number
            self._settle(parent, each, self._raw(each, below), asks=asks, counts=True)

    def _raw(self, number: int, place: _Place) -> list[float]:
        if place.heap:
            return self._usage(place, self._lowest(place, -1))
        return [float(amount) for amount in self.ledger.used[number]]

    def _settle(
        self, parent: int, number: int, usage: Sequence[float], *, asks: bool, counts: bool
    ) -> None:
        """Bring a queue, which is the first of its parent's, up to date there."""
        place = self._places[number]
        above = self._places[parent] if parent >= 0 else None
        if above is not None:
            _add(above.scaled if place.share else above.still, place.usage, -place.share, -1.0)
            heapq.heappop(above.heap)
        place.usage, place.asks = usage, asks
        place.share = self._share(number, usage)
        if asks:
            self._keys[number] = self._key(number, usage, 0)
        if above is None:
            return
        if asks:
            _add(above.scaled if place.share else above.still, usage, place.share)
            heapq.heappush(above.heap, (self._keys[number], number))
            heapq.heappush(above.lows, (place.share, number))
        elif counts:
            _add(above.still, usage, 0.0)


def _add(total: list[float], part: Sequence[float], share: float, sign: float = 1.0) -> None:
    """Add a part, divided by its share if it has one. A share below 0 takes the part away."""
    factor = 1.0 / share if share else sign
    for each, amount in enumerate(part):
        total[each] += amount * factor

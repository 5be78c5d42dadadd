"""Whom a queue may ask to leave: only who has borrowed, and the least work first."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fleetwide.batch.scheduling.ledger import Ledger, need_of
from fleetwide.batch.scheduling.shares import dominant
from fleetwide.batch.scheduling.state import State
from fleetwide.batch.scheduling.tree import StopMode
from fleetwide.batch.scheduling.work import Pending, Running, TaskKey, Tier


@dataclass(frozen=True)
class Unit:
    """Tasks that leave together: one, or all of a gang."""

    leaf: int
    tasks: tuple[Running, ...]

    @property
    def row(self) -> Pending:
        return self.tasks[0].row


@dataclass
class Shared:
    """What the searches of one round have in common."""

    gone: set[TaskKey] = field(default_factory=set)
    """Tasks that were told to leave in this round."""
    units: dict[int, list[Unit]] = field(default_factory=dict)
    """What could leave in a leaf when the round began."""


@dataclass(frozen=True)
class Sides:
    """Two leaves, seen where their lines meet: the queues just below that hold one each."""

    asking: int
    losing: int


class Victims:
    """Who may be asked to leave for one row. The ledger is as if all that goes on were over."""

    def __init__(self, state: State, row: Pending, now: float, shared: Shared) -> None:
        self.state = state
        self.ledger: Ledger = state.ledger
        self.row = row
        self.now = now
        self.shared = shared
        self.leaf = state.tree.number(row.queue)
        self.need = need_of(row)
        self.line = state.tree.line_of[self.leaf]
        self._sides: dict[int, Sides | None] = {}

    def units(self) -> Iterator[Unit]:
        """All that may come into question, in the order in which they are asked."""
        if self._same_queue():
            yield from self._of(self.leaf)
        for leaf in self._by_borrowed():
            yield from self._of(leaf)

    def _same_queue(self) -> bool:
        return any(
            task.row.priority < self.row.priority
            for task in self.state.tasks_of[self.leaf].values()
        )

    def _by_borrowed(self) -> list[int]:
        """Leaves beside the row's own, those first that have borrowed the most."""
        tree = self.state.tree
        found: list[tuple[tuple[float, ...], int]] = []
        stack: list[tuple[int, tuple[float, ...]]] = [
            (child, (-self.share(child),)) for child in self._losing()
        ]
        while stack:
            number, key = stack.pop()
            if not tree.children_of[number] and self.state.tasks_of[number]:
                found.append((key, number))
            stack += [(child, (*key, -self.share(child))) for child in tree.children_of[number]]
        return [leaf for _, leaf in sorted(found)]

    def _losing(self) -> Iterator[int]:
        """Queues beside the row's line that could lose something to it."""
        tree = self.state.tree
        for asking, above in zip(self.line, self.line[1:], strict=False):
            if tree.nodes[asking].fence:
                return
            sure = self._guaranteed_up_to(asking)
            after = self.share_with_row(asking) + self.state.rules.fairness_margin
            for child in tree.children_of[above]:
                if child != asking and (sure or self._stopped(child) or self.share(child) >= after):
                    yield child

    def share(self, number: int) -> float:
        return self.ledger.share(number, self.ledger.used[number])

    def share_with_row(self, number: int) -> float:
        used = list(self.ledger.used[number])
        for each, amount in self.need:
            used[each] += amount * self.row.unit
        return self.ledger.share(number, used)

    def _guaranteed_up_to(self, number: int) -> bool:
        """Whether the row's leaf and all above it up to a queue stay within their guarantees."""
        upto = self.line[: self.line.index(number) + 1]
        return all(self.ledger.within(each, self.need, self.row.unit) for each in upto)

    def _stopped(self, number: int) -> bool:
        nodes, line = self.state.tree.nodes, self.state.tree.line_of[number]
        return any(nodes[each].stop is StopMode.DRAIN for each in line)

    def _of(self, leaf: int) -> list[Unit]:
        """What may leave in a leaf: the lowest priority first, then the least work that is lost."""
        known = self.shared.units.get(leaf)
        if known is None:
            known = self.shared.units[leaf] = self._look(leaf)
        gone = self.shared.gone
        return [unit for unit in known if unit.tasks[0].key not in gone] if gone else known

    def _look(self, leaf: int) -> list[Unit]:
        least = self.state.tree.nodes[leaf].min_protected_seconds
        gangs: dict[str, list[Running]] = {}
        units: list[Unit] = []
        for task in self.state.tasks_of[leaf].values():
            if task.row.gang:
                gangs.setdefault(task.row.job, []).append(task)
            else:
                units.append(Unit(leaf, (task,)))
        units += [Unit(leaf, tuple(sorted(gang, key=_name))) for gang in gangs.values()]
        able = [unit for unit in units if self._may_be_moved(unit, least)]
        return sorted(able, key=self._cost)

    def _may_be_moved(self, unit: Unit, least: float) -> bool:
        return all(
            task.row.preemptible and task.leaving is None and self.now - task.started >= least
            for task in unit.tasks
        )

    def _cost(self, unit: Unit) -> tuple[int, float, float, str, int]:
        row, capacity = unit.row, self.ledger.capacity
        lost = sum(self.now - max(task.started, task.saved or 0.0) for task in unit.tasks)
        size = dominant(row.shape.amounts.vector, capacity)
        youngest = -max(task.started for task in unit.tasks)
        return (row.priority, lost * size, youngest, row.job, unit.tasks[0].index)

    def tier(self, unit: Unit, short: frozenset[int]) -> Tier | None:
        """Why a unit has to leave now, given the resources that the row is short of; None if not.

        Looks at the ledger as it is, in which the unit still counts.
        """
        if unit.leaf == self.leaf:
            lower = unit.row.priority < self.row.priority
            return Tier.PRIORITY if lower else None
        sides = self._meet(unit.leaf)
        if sides is None:
            return None
        gives = {each for each, _ in need_of(unit.row)} & short
        if gives and self._reclaims(sides, gives, short):
            return Tier.RECLAIM
        return Tier.FAIRNESS if self._is_fairer(sides, unit) else None

    def _reclaims(self, sides: Sides, gives: set[int], short: frozenset[int]) -> bool:
        if not self._guaranteed_up_to(sides.asking):
            return False
        named = self.state.tree.nodes[self.leaf].guarantee
        used, sure = self.ledger.used[sides.losing], self.ledger.guarantees[sides.losing]
        beyond = any(used[each] > sure[each] for each in gives)
        return beyond and all(each in named for each in short)

    def _is_fairer(self, sides: Sides, unit: Unit) -> bool:
        """The one that loses gets better by it, and stays better off than the one that asks."""
        if self._stopped(sides.losing):
            return True
        before = self.share(sides.losing)
        self.ledger.book(unit.row, -len(unit.tasks))
        after = self.share(sides.losing)
        asking = self.share_with_row(sides.asking)
        self.ledger.book(unit.row, len(unit.tasks))
        return after < before and asking + self.state.rules.fairness_margin <= after

    def _meet(self, other: int) -> Sides | None:
        """Where the lines of the row's leaf and another meet; None when a fence lies between."""
        if other not in self._sides:
            self._sides[other] = self._find(other)
        return self._sides[other]

    def _find(self, other: int) -> Sides | None:
        theirs = self.state.tree.line_of[other]
        for asking, above in zip(self.line, self.line[1:], strict=False):
            if self.state.tree.nodes[asking].fence:
                return None
            if above in theirs:
                return Sides(asking, theirs[theirs.index(above) - 1])
        return None


def _name(task: Running) -> tuple[str, int]:
    return (task.row.job, task.index)

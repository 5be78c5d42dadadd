"""What every queue, owner and job uses while a round is decided, and what each may use."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fleetwide.batch.scheduling.shares import NOTHING, dominant
from fleetwide.batch.scheduling.tree import Tree
from fleetwide.batch.scheduling.work import Pending
from fleetwide.containers.placement.amounts import Dimension
from fleetwide.containers.placement.requests import Shape

Need = list[tuple[int, int]]
"""The resources that are asked for, as numbers of ``Dimension``, and how much of each."""


def need_of(row: Pending) -> Need:
    return _need(row.shape)


@lru_cache(maxsize=4096)
def _need(shape: Shape) -> Need:
    return [(each, amount) for each, amount in enumerate(shape.amounts.vector) if amount]


class Bound(NamedTuple):
    """What a queue has too little of for a job. Without a dimension: of tasks at a time."""

    path: str
    dimension: Dimension | None
    missing: int
    limit: int


class Ledger:
    """Use by queue, owner and job. Queues are numbers: their places in ``Tree.nodes``."""

    def __init__(self, tree: Tree, capacity: Sequence[int]) -> None:
        self.tree = tree
        self.capacity = tuple(capacity)
        self.used = [list(NOTHING) for _ in tree]
        self.running = [0] * len(tree)
        self.of_owner: defaultdict[tuple[int, str], list[int]] = defaultdict(lambda: list(NOTHING))
        self._owner_shares: dict[tuple[int, str], float] = {}
        self.of_job: defaultdict[str, int] = defaultdict(int)
        self.guarantees = [[node.guarantee.get(each, 0) for each in Dimension] for node in tree]
        self.limits = [[(int(each), most) for each, most in node.limit.items()] for node in tree]
        self._scales = [
            [
                (each, sure, 1 / (there * node.weight))
                for each, (sure, there) in enumerate(zip(own, self.capacity, strict=True))
                if there
            ]
            for node, own in zip(tree, self.guarantees, strict=True)
        ]
        self.keeps = any(node.lendable < 1 for node in tree)
        """Whether any queue keeps a part of its idle guarantee to itself."""

    def book(self, row: Pending, count: int) -> None:
        """Add tasks of a row; a negative count takes them out again."""
        leaf = self.tree.number(row.queue)
        need = need_of(row)
        for number in self.tree.line_of[leaf]:
            used = self.used[number]
            for each, amount in need:
                used[each] += amount * count
            self.running[number] += count
        of_owner = self.of_owner[leaf, row.owner]
        for each, amount in need:
            of_owner[each] += amount * count
        self._owner_shares[leaf, row.owner] = dominant(of_owner, self.capacity)
        self.of_job[row.job] += count

    def owner_share(self, leaf: int, owner: str) -> float:
        """The dominant share of what an owner's tasks use in a leaf."""
        return self._owner_shares.get((leaf, owner), 0.0)

    def allowed(self, row: Pending, wanted: int) -> int:
        """How many of the wanted tasks all queues above and the job itself let through."""
        if row.at_most is not None:
            wanted = min(wanted, row.at_most - self.of_job[row.job])
        leaf, need = self.tree.number(row.queue), need_of(row)
        for number in self.tree.line_of[leaf]:
            wanted = min(wanted, self._below_limit(number, need, wanted))
        if self.keeps and wanted > 0:
            wanted = min(wanted, self._left_by_others(leaf, need, wanted))
        return max(wanted, 0)

    def _below_limit(self, number: int, need: Need, wanted: int) -> int:
        most = self.tree.nodes[number].max_running
        if most is not None:
            wanted = min(wanted, most - self.running[number])
        if self.limits[number]:
            asked, used = dict(need), self.used[number]
            for each, limit in self.limits[number]:
                if each in asked:
                    wanted = min(wanted, (limit - used[each]) // asked[each])
        return wanted

    def _left_by_others(self, leaf: int, need: Need, wanted: int) -> int:
        """What remains when all others keep what they do not lend."""
        kept = self.kept_by_others(leaf)
        for each, amount in need:
            left = self.capacity[each] - self.used[0][each] - kept[each]
            own = self.guarantees[leaf][each] - self.used[leaf][each]
            wanted = min(wanted, max(left, own) // amount)
        return wanted

    def kept_by_others(self, leaf: int) -> list[int]:
        """Of each resource, what queues beside a leaf's line keep idle for themselves."""
        line = set(self.tree.line_of[leaf])
        total = list(NOTHING)
        for number in self.tree.line_of[leaf]:
            for child in self.tree.children_of[number]:
                if child not in line:
                    for each, amount in enumerate(self._kept(child)):
                        total[each] += amount
        return total

    def _kept(self, number: int) -> list[int]:
        below = [self._kept(child) for child in self.tree.children_of[number]]
        part = 1 - self.tree.nodes[number].lendable
        return [
            max(
                int(part * self.guarantees[number][each]) - self.used[number][each],
                sum(kept[each] for kept in below),
            )
            for each in range(len(NOTHING))
        ]

    def bound(self, row: Pending) -> Bound | None:
        """The lowest queue that does not let a row through; None when all do."""
        unit, need = row.unit, need_of(row)
        for number in self.tree.line_of[self.tree.number(row.queue)]:
            node, used = self.tree.nodes[number], self.used[number]
            most = node.max_running
            if most is not None and self.running[number] + unit > most:
                return Bound(node.path, None, self.running[number] + unit - most, most)
            asked = dict(need)
            for each, limit in self.limits[number]:
                over = used[each] + asked.get(each, 0) * unit - limit
                if each in asked and over > 0:
                    return Bound(node.path, Dimension(each), over, limit)
        return None

    def within(self, number: int, need: Need, count: int) -> bool:
        """Whether a queue stays within its guarantee with so many more tasks.

        It has to ask for something that is guaranteed; other resources do not matter.
        """
        used, sure = self.used[number], self.tree.nodes[number].guarantee
        if not sure:
            return False
        named = [(each, amount) for each, amount in need if each in sure]
        return bool(named) and all(
            used[each] + amount * count <= self.guarantees[number][each] for each, amount in named
        )

    def share(self, number: int, used: Sequence[float]) -> float:
        """What a queue would have borrowed, for its weight, if it used so much."""
        most = 0.0
        for each, sure, per in self._scales[number]:
            part = (used[each] - sure) * per
            if part > most:  # noqa: PLR1730 - twice as fast as max, in the innermost loop
                most = part
        return most

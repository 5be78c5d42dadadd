"""Capacity groups: whose turn it is, and how much a group may take.

A lower tier waits for a higher one. Within a tier the group that uses the least of its guarantee is
first; groups beyond their guarantees share what nobody uses, by weight.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from operator import add, sub

from fleetwide.containers.placement.amounts import Amounts, Dimension
from fleetwide.containers.placement.fleet import Fleet

Vector = tuple[int, ...]
NOTHING: Vector = (0,) * len(Dimension)


class Tier(IntEnum):
    """Which groups come first."""

    CRITICAL = 0
    FLEX = 1


@dataclass(frozen=True)
class CapacityGroup:
    """A part of the fleet that somebody may count on. Resources not named have no bound."""

    name: str
    tier: Tier = Tier.FLEX
    guarantee: Mapping[Dimension, int] = field(default_factory=dict)
    """Lent to others while it is idle, taken back by preemption, for tasks that ask for any of the
    resources that are named."""
    weight: float = 1.0
    """The group's part of what is beyond all guarantees."""
    cap: Mapping[Dimension, int] = field(default_factory=dict)
    """Never more than this, also when the fleet is idle."""
    used: Amounts = field(default_factory=Amounts)


Turn = tuple[int, float, str]


class Ledger:
    """What each group uses while a plan is made."""

    def __init__(self, fleet: Fleet, groups: Iterable[CapacityGroup]) -> None:
        self.groups = {group.name: group for group in groups}
        self._whole = fleet.whole
        self._used = {name: group.used.vector for name, group in self.groups.items()}

    def group(self, name: str) -> CapacityGroup:
        """A group by name; one that nobody described has no guarantee and no cap."""
        known = self.groups.get(name)
        if known is None:
            known = self.groups[name] = CapacityGroup(name)
        return known

    def used(self, name: str) -> Vector:
        return self._used.get(name, NOTHING)

    def book(self, name: str, need: Vector, count: int) -> None:
        """Add tasks to a group; a negative count takes them out again."""
        self._used[name] = _plus(self.used(name), need, count)

    def turn(self, name: str, need: Vector = NOTHING, count: int = 0) -> Turn:
        """The group's place in the queue if it had so many tasks more; the lowest is served."""
        group = self.group(name)
        return (group.tier, self._share(group, _plus(self.used(name), need, count)), name)

    def allowed(self, name: str, need: Vector, wanted: int) -> int:
        """How many of the wanted tasks the group's cap lets through."""
        used = self.used(name)
        for dimension, cap in self.group(name).cap.items():
            if need[dimension]:
                wanted = min(wanted, (cap - used[dimension]) // need[dimension])
        return max(wanted, 0)

    def batch(self, name: str, need: Vector, wanted: int, following: Turn) -> int:
        """How many tasks can be served in a row before the following group's turn comes."""
        if self.turn(name, need, wanted - 1) < following:
            return wanted
        low, high = 1, wanted
        while low < high:
            middle = (low + high + 1) // 2
            ahead = self.turn(name, need, middle - 1) < following
            low, high = (middle, high) if ahead else (low, middle - 1)
        return low

    def guaranteed(self, name: str, need: Vector) -> bool:
        """Whether one more such task is still within the group's guarantee.

        One that asks for nothing of what is guaranteed is not: it could come back for ever.
        """
        guarantee = self.group(name).guarantee
        if not any(need[each] for each in guarantee):
            return False
        after = _plus(self.used(name), need, 1)
        return all(after[each] <= most for each, most in guarantee.items())

    def beyond(self, name: str, need: Vector) -> bool:
        """Whether the group still uses its whole guarantee without such a task."""
        guarantee = self.group(name).guarantee
        after = _plus(self.used(name), need, -1)
        return all(after[each] >= least for each, least in guarantee.items())

    def _share(self, group: CapacityGroup, used: Vector) -> float:
        within = [used[each] / max(most, 1) for each, most in group.guarantee.items()]
        if within and max(within) <= 1.0:
            return max(within)
        beyond = [
            max(used[each] - group.guarantee.get(each, 0), 0) / max(self._whole[each], 1)
            for each in Dimension
        ]
        return 1.0 + max(beyond) / group.weight


def _plus(used: Vector, need: Vector, count: int) -> Vector:
    if count == 1:
        return tuple(map(add, used, need))
    if count == -1:
        return tuple(map(sub, used, need))
    return tuple([has + asked * count for has, asked in zip(used, need, strict=True)])

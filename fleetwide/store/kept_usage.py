"""What each capacity group holds, kept from one tick to the next as the fleet is."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from fleetwide.containers.placement import Amounts, CapacityGroup, Dimension

Vector = tuple[int, ...]
GroupUse = Mapping[str, Vector]
"""Name of a group to what its attempts hold of one host, in the order of ``Amounts``."""


def added(*parts: Vector) -> Vector:
    """The sum of at least one part."""
    return tuple([sum(amounts) for amounts in zip(*parts, strict=True)])


class KeptUsage:
    """Sums by group. They are kept by host, too: a host that is read again replaces its part."""

    def __init__(self) -> None:
        self._by_host: dict[str, dict[str, Vector]] = {}
        self._sums: dict[str, list[int]] = {}

    def of(self, group: str) -> Amounts:
        """What all attempts of the group hold."""
        return Amounts(*self._sums.get(group, ()))

    def groups(self, known: Iterable[CapacityGroup]) -> tuple[CapacityGroup, ...]:
        """The groups with what they use now."""
        return tuple(replace(group, used=self.of(group.name)) for group in known)

    def take_all(self, found: Mapping[str, GroupUse]) -> None:
        """Everything was read anew; what is not in ``found`` has nothing on it."""
        self._by_host, self._sums = {}, {}
        self.take(found, found)

    def take(self, found: Mapping[str, GroupUse], host_ids: Collection[str]) -> None:
        """These hosts were read anew; one that is not in ``found`` has nothing on it."""
        for host_id in host_ids:
            for group, amounts in self._by_host.pop(host_id, {}).items():
                self._count(group, amounts, -1)
            for group, amounts in found.get(host_id, {}).items():
                self.add(host_id, group, amounts)

    def add(self, host_id: str, group: str, amounts: Vector) -> None:
        """An attempt of the group got so much of the host."""
        there = self._by_host.setdefault(host_id, {})
        before = there.get(group)
        there[group] = amounts if before is None else added(before, amounts)
        self._count(group, amounts, 1)

    def _count(self, group: str, amounts: Vector, times: int) -> None:
        sums = self._sums.setdefault(group, [0] * len(Dimension))
        for each, amount in enumerate(amounts):
            sums[each] += amount * times

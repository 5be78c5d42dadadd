"""Where tasks fit: what the scheduler asks of hosts, and hosts without constraints."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.amounts import Amounts, Dimension
from fleetwide.containers.placement.fleet import Real, Whole
from fleetwide.containers.placement.requests import Shape

Mask = npt.NDArray[np.bool_]


class Placed(NamedTuple):
    """So many tasks on one host, which is a number."""

    host: int
    tasks: int


class Room(Protocol):
    """Hosts as numbers. ``free`` has a row for each ``Dimension`` and a column for each host."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def index(self) -> Mapping[str, int]: ...

    total: Whole
    free: Whole
    spare: Whole | None
    """What a reservation leaves of each host to those that outlast it; None without one."""

    def fit(self, shape: Shape, wanted: int, *, outlasts: bool) -> list[Placed]:
        """Take places for up to so many tasks; ``outlasts`` keeps to what is spare, too."""
        ...

    def fits_one(self, shape: Shape) -> bool:
        """Whether any host has room for one task now."""
        ...

    def take(self, shape: Shape, placed: Placed, *, outlasts: bool) -> None:
        """Put tasks on a host; a negative count takes them away."""
        ...

    def suits(self, shape: Shape) -> Mask:
        """The hosts that could take the shape if they were empty."""
        ...


class Hosts:
    """A ``Room`` of plain hosts: the fullest that fits is taken first, so whole hosts stay free."""

    def __init__(self, hosts: Mapping[str, Amounts]) -> None:
        self.names: tuple[str, ...] = tuple(sorted(hosts))
        self.index = {name: number for number, name in enumerate(self.names)}
        columns = [hosts[name].vector for name in self.names]
        total = np.array(columns, dtype=np.int64).reshape(len(columns), len(Dimension))
        self.total: Whole = np.ascontiguousarray(total.T)
        self.free: Whole = self.total.copy()
        self.spare: Whole | None = None
        self._weights: Real = 1.0 / np.maximum(self.total, 1)
        self._needs: dict[Shape, list[tuple[int, int]]] = {}

    def needs(self, shape: Shape) -> list[tuple[int, int]]:
        """The resources that a shape asks for, and how much of each."""
        known = self._needs.get(shape)
        if known is None:
            amounts = enumerate(shape.amounts.vector)
            known = self._needs[shape] = [(each, amount) for each, amount in amounts if amount]
        return known

    def suits(self, shape: Shape) -> Mask:
        return self._mask(self.total, shape)

    def _mask(self, amounts: Whole, shape: Shape) -> Mask:
        mask: Mask = np.ones(amounts.shape[1], dtype=np.bool_)
        for each, amount in self.needs(shape):
            mask &= amounts[each] >= amount
        return mask

    def fits_one(self, shape: Shape) -> bool:
        return bool(self._mask(self.free, shape).any())

    def _left(self, shape: Shape) -> Real:
        """How much is free, of the resources that the shape asks for, as parts of the host."""
        left: Real = np.zeros(self.free.shape[1])
        for each, _ in self.needs(shape):
            left += self.free[each] * self._weights[each]
        return left

    def fit(self, shape: Shape, wanted: int, *, outlasts: bool) -> list[Placed]:
        usable = self.free
        if outlasts and self.spare is not None:
            usable = np.minimum(self.free, self.spare)
        able = np.flatnonzero(self._mask(usable, shape))
        if not able.size:
            return []
        left = self._left(shape)[able]
        if wanted == 1:
            placed = [Placed(int(able[left.argmin()]), 1)]
        else:
            placed = self._several(usable, shape, able[left.argsort(kind="stable")], wanted)
        for each in placed:
            self.take(shape, each, outlasts=outlasts)
        return placed

    def _several(
        self, usable: Whole, shape: Shape, hosts: npt.NDArray[np.intp], wanted: int
    ) -> list[Placed]:
        """Fill one host after the other."""
        rooms = np.full(hosts.size, wanted, dtype=np.int64)
        for each, amount in self.needs(shape):
            rooms = np.minimum(rooms, usable[each, hosts] // amount)
        upto = np.minimum(rooms.cumsum(), wanted)
        counts = np.diff(upto, prepend=0)
        last = int(np.searchsorted(upto, upto[-1])) + 1
        return [
            Placed(host, count)
            for host, count in zip(hosts[:last].tolist(), counts[:last].tolist(), strict=True)
        ]

    def take(self, shape: Shape, placed: Placed, *, outlasts: bool) -> None:
        for each, amount in self.needs(shape):
            self.free[each, placed.host] -= amount * placed.tasks
            if outlasts and self.spare is not None:
                self.spare[each, placed.host] -= amount * placed.tasks

"""The working copy of a fleet: what is free and who is where while a plan is made.

Every change is noted, so that what was computed of a host is computed anew only when it changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.amounts import Amounts, Dimension
from fleetwide.containers.placement.fleet import Fleet, Host, Real, Whole
from fleetwide.containers.placement.kinds import (
    FIT_WEIGHT,
    Facts,
    Kind,
    Mark,
    facts_of,
    kind_of,
    marks_of,
)
from fleetwide.containers.placement.requests import Shape


@dataclass(frozen=True)
class Occupant:
    """Tasks of one job on a host that constraints have to know of.

    What they take is part of the host's own figures.
    """

    host_id: str
    shape: Shape
    job: str
    count: int = 1


OTHERS = tuple(range(1, len(Dimension)))


def added(parts: Real) -> Real:
    """The sum over the resources, which are rows, always in the same order.

    So one host and all hosts get the same number, and every machine makes the same plan.
    """
    total: Real = parts[0]
    for dimension in OTHERS:
        total = total + parts[dimension]
    return total


MOST_FACTS = 512
MOST_KINDS = 8192


class Board:
    """A fleet that can be changed. Hosts are numbers: their places in ``Fleet.hosts``."""

    def __init__(self, fleet: Fleet, occupants: tuple[Occupant, ...] = ()) -> None:
        self.fleet = fleet
        self.free: Whole = fleet.free.copy()
        self.tasks: Whole = fleet.tasks.copy()
        self.left: Real = FIT_WEIGHT * added(self.free * fleet.weights)
        """The part of each host that is free, over the resources that it has, as scores use it."""
        self.marks: dict[Mark, dict[int, int]] = {}
        """How often each mark was left, per host."""
        self.marked: dict[int, set[Mark]] = {}
        """The marks of each host."""
        self.changed: list[int] = []
        """The hosts that changed, oldest first."""
        self.devices = _devices(fleet)
        self._facts: dict[Shape, Facts] = {}
        self._kinds: dict[tuple[Shape, str], Kind] = {}
        for occupant in occupants:
            self._settle(occupant)

    def _settle(self, occupant: Occupant) -> None:
        host = self.fleet.index.get(occupant.host_id)
        if host is not None:
            self._leave_all(marks_of(occupant.shape, occupant.job), host, occupant.count)

    def look_again(self, host: Host, occupants: Iterable[Occupant]) -> None:
        """What is free on a host and who is there, as somebody else has found it."""
        number = self.fleet.index[host.host_id]
        free = np.array(host.free.vector, dtype=np.int64)
        self.free[:, number] = free
        self.left[number] = FIT_WEIGHT * added(free * self.fleet.weights[:, number])
        self.tasks[number] = host.tasks
        if host.total.gpus:
            self.devices[number] = devices_of(host)
        for mark in self.marked.pop(number, ()):
            self._forget(mark, number)
        for occupant in occupants:
            self._settle(occupant)
        self.changed.append(number)

    def seen(self, number: int) -> Host:
        """A host with what is free on it now."""
        host = self.fleet.hosts[number]
        return replace(
            host,
            free=Amounts(*self.free[:, number].tolist()),
            tasks=int(self.tasks[number]),
            free_gpus=self.devices.get(number, host.free_gpus),
        )

    def take_over(self, before: "Board") -> None:
        """Who is where is as it was on another board, of the hosts that are on both."""
        for number, marks in before.marked.items():
            host = self.fleet.index.get(before.fleet.ids[number])
            if host is not None:
                for mark in marks:
                    self.leave(mark, host, before.marks[mark][number])

    def kind(self, shape: Shape, job: str = "") -> Kind:
        """The kind of a shape and a job, judged once."""
        known = self._kinds.get((shape, job))
        if known is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            known = self._kinds[shape, job] = kind_of(self._facts_of(shape), job)
        return known

    def _facts_of(self, shape: Shape) -> Facts:
        facts = self._facts.get(shape)
        if facts is None:
            if len(self._facts) >= MOST_FACTS:
                del self._facts[next(iter(self._facts))]
            facts = self._facts[shape] = facts_of(self.fleet, shape)
        return facts

    def take(self, kind: Kind, host: int, count: int = 1) -> None:
        """Put tasks of a kind on a host; a negative count takes them away again."""
        self.free[:, host] -= kind.facts.row if count == 1 else kind.facts.row * count
        parts = self.free[:, host] * self.fleet.weights[:, host]
        self.left[host] = FIT_WEIGHT * added(parts.tolist())
        self.tasks[host] += count
        self._leave_all(kind.holds, host, count)
        self.changed.append(host)

    def take_many(self, kind: Kind, hosts: npt.NDArray[np.intp], counts: Whole) -> None:
        """Put tasks of a kind on several hosts, each named once."""
        free = self.free[:, hosts] - kind.facts.column * counts
        self.free[:, hosts] = free
        self.left[hosts] = FIT_WEIGHT * added(free * self.fleet.weights[:, hosts])
        self.tasks[hosts] += counts
        numbers = hosts.tolist()
        if kind.holds:
            for host, count in zip(numbers, counts.tolist(), strict=True):
                self._leave_all(kind.holds, host, count)
        self.changed.extend(numbers)

    def hold(self, kind: Kind, host: int) -> Whole:
        """Keep what is free of a place for a task of a kind; how much that is."""
        held: Whole = np.minimum(self.free[:, host], kind.facts.row).clip(0)
        self.give(host, -held)
        return held

    def give(self, host: int, amounts: Whole) -> None:
        """Let so much more of a host be free."""
        self.free[:, host] += amounts
        self.left[host] = FIT_WEIGHT * added(self.free[:, host] * self.fleet.weights[:, host])
        self.changed.append(host)

    def devices_for(self, kind: Kind, host: int) -> tuple[int, ...]:
        """Take as many GPU devices of a host as a task of the kind asks for."""
        asked = kind.shape.amounts.gpus
        if not asked:
            return ()
        free = self.devices[host]
        self.devices[host] = free[asked:]
        return free[:asked]

    def room(self, kind: Kind, hosts: npt.NDArray[np.intp], most: int) -> Whole:
        """How many tasks of a kind each of these hosts has place for, by what is free."""
        room = np.full(hosts.size, 1 if kind.once else most, dtype=np.int64)
        for dimension, asked in enumerate(kind.facts.need):
            if asked:
                room = np.minimum(room, self.free[dimension, hosts] // asked)
        return room

    def leave(self, mark: Mark, host: int, count: int = 1) -> None:
        """Note that tasks with a mark are on a host, or no longer are."""
        there = self.marks.get(mark)
        if there is None:
            there = self.marks[mark] = {}
        left = there.get(host, 0) + count
        if left > 0:
            there[host] = left
            known = self.marked.get(host)
            if known is None:
                known = self.marked[host] = set()
            known.add(mark)
            return
        self._forget(mark, host)
        if host in self.marked:
            self.marked[host].discard(mark)

    def _forget(self, mark: Mark, host: int) -> None:
        there = self.marks[mark]
        there.pop(host, None)
        if not there:
            del self.marks[mark]

    def _leave_all(self, marks: tuple[Mark, ...], host: int, count: int) -> None:
        for mark in marks:
            self.leave(mark, host, count)


def devices_of(host: Host) -> tuple[int, ...]:
    """The GPU devices of a host that are free, in order."""
    first = tuple(range(host.free.gpus))
    return first if host.free_gpus is None else tuple(sorted(host.free_gpus))


def _devices(fleet: Fleet) -> dict[int, tuple[int, ...]]:
    return {number: devices_of(host) for number, host in enumerate(fleet.hosts) if host.total.gpus}

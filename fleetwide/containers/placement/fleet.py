"""The hosts at one moment, as people see them and as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.amounts import UNCOUNTED, Amounts, Dimension

Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


class Lifecycle(StrEnum):
    """Whether a host takes work."""

    ACTIVE = "Active"
    PHASED_OUT = "PhasedOut"
    """Takes work only when no active host does."""
    REMOVABLE = "Removable"
    INACTIVE = "Inactive"


TAKES_WORK = frozenset({Lifecycle.ACTIVE, Lifecycle.PHASED_OUT})


@dataclass(frozen=True)
class Traits:
    """What hosts of one class have in common; constraints are judged once per class."""

    zone: str = ""
    machine_group: str = ""
    machine_type: str = ""
    cpu_model: str = ""
    backend: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()
    taints: frozenset[str] = frozenset()
    """Only tasks that tolerate all of them are placed here."""
    lifecycle: Lifecycle = Lifecycle.ACTIVE


@dataclass(frozen=True)
class Host:
    """A host at one moment. ``version`` changes with every placement on it."""

    host_id: str
    total: Amounts
    free: Amounts
    version: int = 1
    traits: Traits = Traits()
    quality: float = 1.0
    """From 0 to 1; less for a host that failed lately."""
    images: frozenset[str] = frozenset()
    tasks: int = 0
    """How many tasks it has."""
    free_gpus: tuple[int, ...] | None = None
    """The devices that are free; None stands for the first ``free.gpus`` of them."""
    free_ports: int | None = None
    """How many ports may be chosen for tasks yet; None where there are always enough."""


@dataclass(frozen=True)
class Fleet:
    """All hosts, ordered by zone and id, and the same as arrays that nobody may change.

    ``total`` and ``free`` have a row for each ``Dimension`` and a column for each host.
    ``weights`` turn an amount that is left into its part of the host, over the resources it has.
    """

    hosts: tuple[Host, ...]
    ids: tuple[str, ...]
    index: dict[str, int]
    total: Whole
    whole: tuple[int, ...]
    """All hosts together."""
    free: Whole
    weights: Real
    tasks: Whole
    standing: Real
    traits: tuple[Traits, ...]
    trait_of: npt.NDArray[np.intp]
    zones: dict[str, tuple[int, int]]
    """First host and end of each zone."""
    zone_of: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.hosts)

    @classmethod
    def of(cls, hosts: Iterable[Host]) -> "Fleet":
        """Put the hosts into arrays; the order in which they come does not matter."""
        ordered = tuple(sorted(hosts, key=lambda host: (host.traits.zone, host.host_id)))
        total = _columns([host.total for host in ordered])
        numbers: dict[Traits, int] = {}
        trait_of = [numbers.setdefault(host.traits, len(numbers)) for host in ordered]
        fleet = cls(
            hosts=ordered,
            ids=tuple(host.host_id for host in ordered),
            index={host.host_id: number for number, host in enumerate(ordered)},
            total=total,
            whole=tuple(total.sum(axis=1).tolist()),
            free=_columns([host.free for host in ordered]),
            weights=_weights(total),
            tasks=np.array([host.tasks for host in ordered], dtype=np.int64),
            standing=np.array([_standing(host) for host in ordered], dtype=np.float64),
            traits=tuple(numbers),
            trait_of=np.array(trait_of, dtype=np.intp),
            zones=_zones(ordered),
            zone_of=tuple(host.traits.zone for host in ordered),
        )
        for array in (fleet.total, fleet.free, fleet.weights, fleet.tasks, fleet.standing):
            array.setflags(write=False)
        return fleet


def _columns(amounts: list[Amounts]) -> Whole:
    rows = [
        [each.cpu_milli for each in amounts],
        [each.memory_bytes for each in amounts],
        [each.disk_bytes for each in amounts],
        [each.network_mbps for each in amounts],
        [each.gpus for each in amounts],
    ]
    return np.array(rows, dtype=np.int64).reshape(len(Dimension), len(amounts))


def _weights(total: Whole) -> Real:
    has = (total > 0) & (total < UNCOUNTED)
    kinds = np.maximum(has.sum(axis=0), 1)
    return np.where(has, 1.0 / (np.maximum(total, 1) * kinds), 0.0)


def _standing(host: Host) -> float:
    """How welcome work is there: half as much on a host that is being phased out."""
    welcome = 1.0 if host.traits.lifecycle is Lifecycle.ACTIVE else 0.5
    return welcome * host.quality


def _zones(ordered: tuple[Host, ...]) -> dict[str, tuple[int, int]]:
    zones: dict[str, tuple[int, int]] = {}
    for number, host in enumerate(ordered):
        first, _ = zones.get(host.traits.zone, (number, number))
        zones[host.traits.zone] = (first, number + 1)
    return zones

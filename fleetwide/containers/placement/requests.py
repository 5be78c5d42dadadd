"""What is asked for: shapes of tasks, the requests that have them, gangs."""

from dataclasses import dataclass, field, fields
from functools import cached_property

from fleetwide.containers.placement.amounts import Amounts
from fleetwide.models.placement import Fit


@dataclass(frozen=True)
class Wishes:
    """Constraints: all of them hold when they are hard, each counts when they are soft.

    A set names the values that are allowed; an empty one allows all.
    """

    active_host: bool = False
    """Only hosts that are not being phased out."""
    zones: frozenset[str] = frozenset()
    machine_ids: frozenset[str] = frozenset()
    machine_groups: frozenset[str] = frozenset()
    machine_types: frozenset[str] = frozenset()
    backends: frozenset[str] = frozenset()
    cpu_models: frozenset[str] = frozenset()
    labels: frozenset[tuple[str, str]] = frozenset()
    """All of these are on the host."""
    not_labels: frozenset[tuple[str, str]] = frozenset()
    """None of these is on the host."""
    unique_host: bool = False
    """No two tasks of the job on one host."""
    exclusive_host: bool = False
    """Nothing else on the host, now or later."""
    zone_balance: bool = False
    """The job's tasks per zone differ by one at the most."""
    not_with_jobs: frozenset[str] = frozenset()
    """Never on a host with a task of these jobs, whichever came first."""

    @cached_property
    def count(self) -> int:
        """How many wishes these are."""
        return sum(bool(getattr(self, each.name)) for each in fields(self))


@dataclass(frozen=True)
class Shape:
    """What all tasks of a job have in common for the engine. Requests of one shape are grouped.

    A job's tasks should share one object: its hash is computed once.
    """

    amounts: Amounts
    hard: Wishes = Wishes()
    soft: Wishes = Wishes()
    tolerations: frozenset[str] = frozenset()
    """Taints that the task puts up with."""
    ports: frozenset[int] = frozenset()
    """Ports of the host that the task takes."""
    any_ports: int = 0
    """How many more ports are chosen for it once it has a host."""
    image: str = ""
    """Hosts that hold it already are preferred."""
    fit: Fit = Fit.PACK
    avoid_hosts: frozenset[str] = frozenset()
    """Taken only when there is no other."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wishes = (self.hard, self.soft, self.tolerations, self.ports, self.any_ports)
        rest = (self.avoid_hosts, self.image, self.fit)
        object.__setattr__(self, "_hash", hash((self.amounts, wishes, *rest)))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def looks_at_its_job(self) -> bool:
        """Whether it matters where other tasks of the same job are."""
        return (
            self.hard.unique_host
            or self.soft.unique_host
            or self.hard.zone_balance
            or self.soft.zone_balance
        )


@dataclass(frozen=True)
class Gang:
    """Requests that start together or not at all."""

    name: str
    size: int
    """Fewer members than this are never placed."""
    hold_seconds: float = 0.0
    """For how long it may keep what is free already while it waits for the rest."""
    held_since: float | None = None
    """When it began to hold, on the snapshot's clock; None when it never did."""


@dataclass(frozen=True, slots=True)
class Request:
    """One task that wants a host."""

    request_id: int
    shape: Shape
    job: str = ""
    group: str = ""
    """Its capacity group; without one it belongs to the flexible rest."""
    priority: int = 0
    """Higher ones are served first."""
    rank: int = 0
    """Lower ones are served first; among equal ones the largest is."""
    gang: Gang | None = None

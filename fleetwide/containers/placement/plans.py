"""What a plan is made from and what it says. All of it is data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fleetwide.containers.placement.amounts import Amounts
from fleetwide.containers.placement.board import Occupant
from fleetwide.containers.placement.explain import Explanation, Offer
from fleetwide.containers.placement.fleet import Fleet
from fleetwide.containers.placement.groups import CapacityGroup
from fleetwide.containers.placement.requests import Request


@dataclass(frozen=True)
class RunningTask:
    """A task that may be asked to leave when its place was lent."""

    task_id: str
    host_id: str
    amounts: Amounts
    group: str = ""
    started: float = 0.0
    """On the snapshot's clock; the youngest is asked first."""
    leaving: bool = False
    """Whether it ends already; what it takes is as good as free."""
    priority: int = 0
    """In its group the one of the lowest is asked first."""
    announced: bool = False
    """Whether it was told that it has to leave, and has not been asked to yet."""


@dataclass(frozen=True)
class Claim:
    """A place that is being cleared for a request: what is free of it already is kept."""

    request_id: int
    host_id: str


@dataclass(frozen=True)
class Snapshot:
    """All that a plan is made from; ``requests`` are in the order in which they came."""

    fleet: Fleet
    requests: tuple[Request, ...] = ()
    occupants: tuple[Occupant, ...] = ()
    """Tasks that constraints have to know of."""
    groups: tuple[CapacityGroup, ...] = ()
    running: tuple[RunningTask, ...] = ()
    """Tasks that may be preempted."""
    claims: tuple[Claim, ...] = ()
    offers: tuple[Offer, ...] = ()
    """Kinds of hosts that could be added."""
    now: float = 0.0
    """Seconds on any clock."""


class Decision(NamedTuple):
    """One request goes to one host."""

    request_id: int
    host_id: str
    gpus: tuple[int, ...] = ()
    """The devices that it gets."""


@dataclass(frozen=True)
class Preemption:
    """A proposal: these tasks leave, after their notice, so that a guaranteed request fits."""

    request_id: int
    host_id: str
    victims: tuple[str, ...]
    """Those that were told so already are among them."""


@dataclass(frozen=True)
class Plan:
    """Decisions, and an explanation for every request that got none."""

    decisions: tuple[Decision, ...] = ()
    waiting: Mapping[int, Explanation] = field(default_factory=dict)
    held: str | None = None
    """The gang that keeps what is free until the rest of it fits."""
    preemptions: tuple[Preemption, ...] = ()
    claims: tuple[Claim, ...] = ()
    """The places that are being cleared, also those that nobody else has to leave for."""

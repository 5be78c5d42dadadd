"""What a round is decided from and what it decides. All of it is data; times are seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from fleetwide.batch.scheduling.tree import Tree
from fleetwide.containers.placement.amounts import Amounts
from fleetwide.containers.placement.requests import Shape


class RowKey(NamedTuple):
    """A range of tasks that wait: its job and its first index."""

    job: str
    first: int


class TaskKey(NamedTuple):
    """One task: its job and its index there."""

    job: str
    child: int


@dataclass(frozen=True, slots=True)
class Pending:
    """Equal tasks of one job that wait: the indexes from ``first`` on, ``count`` of them.

    A gang is one row: all of it starts at once or nothing does.
    """

    job: str
    queue: str
    shape: Shape
    """What each task asks of its host. Tasks of a kind should share one object."""
    first: int = 0
    count: int = 1
    gang: bool = False
    priority: int = 0
    """Higher ones start first in their queue."""
    owner: str = ""
    submitted: float = 0.0
    at_most: int | None = None
    """How many tasks of the job may run at a time."""
    seconds: float | None = None
    """How long a task is expected to run."""
    preemptible: bool = True
    grace_seconds: float = 30.0
    """How long it may take to leave when it is preempted."""
    held: bool = False
    preempts_from: float = 0.0
    """Preempts nobody before: the back-off of one that was preempted itself."""

    @property
    def key(self) -> RowKey:
        return RowKey(self.job, self.first)

    @property
    def unit(self) -> int:
        """How many tasks have to start together."""
        return self.count if self.gang else 1


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs, and the row that it came from."""

    row: Pending
    index: int
    host: str
    started: float
    saved: float | None = None
    """When it last wrote a checkpoint: what it did since is lost by a preemption."""
    leaving: float | None = None
    """When it will be gone at the latest, once it was told to leave."""

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.row.job, self.index)


@dataclass(frozen=True, slots=True)
class Pin:
    """Room on a host that is kept for tasks of a row while others leave it."""

    row: RowKey
    host: str
    count: int


@dataclass(frozen=True)
class Rules:
    """The numbers of the rules, the same for all queues."""

    overdue_seconds: float = 4 * 3600.0
    """A job that has waited for longer comes first, and nothing starts that would delay it."""
    usual_seconds: float = 3600.0
    """For how long a task is expected to run of which nobody knows."""
    preempt_after_seconds: float = 10.0
    """For how long a job waits before others are preempted for it."""
    preempt_share_per_minute: float = 0.1
    """The most that is preempted in a minute, as a part of everything."""
    fairness_margin: float = 0.01
    """How much better off, in borrowed share for its weight, the one that loses has to stay."""
    history_weight: float = 0.2
    """What past use counts beside present use; 0 for not at all."""
    history_window_seconds: float = 3600.0


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment. The order of hosts, rows and tasks does not matter."""

    tree: Tree
    hosts: Mapping[str, Amounts]
    """What each host that takes work has in all."""
    pending: tuple[Pending, ...] = ()
    running: tuple[Running, ...] = ()
    pins: tuple[Pin, ...] = ()
    reserved: RowKey | None = None
    """The row that got a reservation in an earlier round."""
    history: Mapping[str, float] = field(default_factory=dict)
    """Past use of each leaf: its dominant share, as a decayed sum over seconds."""
    preempted: tuple[tuple[float, float], ...] = ()
    """When something was preempted lately, and how much, as a part of everything."""
    rules: Rules = Rules()


class Start(NamedTuple):
    """Tasks that start on a host: the indexes from ``first`` on, ``tasks`` of them."""

    job: str
    first: int
    tasks: int
    host: str


class Tier(IntEnum):
    """Why a task has to leave, the strongest reason first."""

    PRIORITY = 0
    """One of a higher priority waits in its own queue."""
    RECLAIM = 1
    """A queue asks for what it is guaranteed."""
    FAIRNESS = 2
    """A queue has borrowed less for its weight."""


class Eviction(NamedTuple):
    """A task that has to leave for another one."""

    task: TaskKey
    by: RowKey
    tier: Tier
    leave_by: float


@dataclass(frozen=True)
class Reservation:
    """When and where a job will start that does not fit now, if no expectation is exceeded."""

    row: RowKey
    at: float
    places: tuple[tuple[str, int], ...]
    """Hosts, and how many tasks go to each."""


@dataclass(frozen=True)
class Round:
    """What one round decided."""

    starts: tuple[Start, ...] = ()
    evictions: tuple[Eviction, ...] = ()
    pins: tuple[Pin, ...] = ()
    """All that hold from now on, also those of earlier rounds."""
    reservation: Reservation | None = None

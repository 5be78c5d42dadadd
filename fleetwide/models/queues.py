"""Queues of batch: a tree of who may count on what, who may use it, and how its work is ordered."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from fleetwide.models.base import Name, Record, Spec, Timestamp
from fleetwide.models.capacity_groups import MAX_WEIGHT, GroupAmounts, Priority
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.texts import Line, Prose

ROOT = "root"
"""The queue above all others. Its name may stand before theirs, and need not."""
DEFAULT_QUEUE = "default"
"""Of all jobs that name none. It is always there."""
SEPARATOR = "/"
MAX_DEPTH = 8
"""Levels below the root."""
MAX_QUEUES = 5000
MAX_CHANGES = 200
MAX_PEOPLE = 100
RESERVED = ("changes", "history", "plan")
"""Names that the API's routes have; no queue can."""
_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
PATH_PATTERN = rf"^{_NAME}(/{_NAME}){{0,{MAX_DEPTH}}}$"


def short_path(path: str) -> str:
    """As people say it: ``ml/training`` for ``root/ml/training``."""
    return path.removeprefix(f"{ROOT}{SEPARATOR}")


def full_path(path: str) -> str:
    """From the root down, as the scheduler says it."""
    short = short_path(path)
    return short if short == ROOT else f"{ROOT}{SEPARATOR}{short}"


def parent_of(path: str) -> str | None:
    """The short path of the queue above; None for the root."""
    if path == ROOT:
        return None
    return path.rpartition(SEPARATOR)[0] or ROOT


def line_of(path: str) -> list[str]:
    """The queue itself and all above it, the root last."""
    found = [path]
    while (above := parent_of(found[-1])) is not None:
        found.append(above)
    return found


def _checked(path: str) -> str:
    short = short_path(path)
    depth = short.count(SEPARATOR) + 1
    if depth > MAX_DEPTH:
        raise ValueError(f"has {depth} levels below {ROOT}, above {MAX_DEPTH}")
    return short


QueuePath = Annotated[
    str,
    Field(pattern=PATH_PATTERN, max_length=600, examples=["ml/training"]),
    AfterValidator(_checked),
]


class Hold(StrEnum):
    """What a queue, and all below it, does with its work."""

    OPEN = "open"
    HOLD = "hold"
    """It takes jobs, and starts nothing."""
    DRAIN = "hold-and-drain"
    """It takes no jobs and starts nothing; what runs may be preempted by anybody."""


class QueueOrdering(StrEnum):
    """What happens behind a job that does not fit."""

    STRICT = "strict"
    BACKFILL = "backfill"


class Unplaceable(StrEnum):
    """What becomes of a job that no host of the fleet could ever hold."""

    REFUSE = "refuse"
    MARK = "mark"
    """It waits, and its wait says so: the fleet may get such a host."""


People = Annotated[
    list[Annotated[Line, Field(min_length=1, max_length=200)]], Field(max_length=MAX_PEOPLE)
]


class QueueSpec(Spec):
    """What a queue may count on, who may use it, and how."""

    guarantee: GroupAmounts = GroupAmounts()
    """Its work gets this in any case; idle, it is lent. All below it together have no more."""
    limit: GroupAmounts = GroupAmounts()
    """Never more than this, also when the fleet is idle."""
    weight: Annotated[float, Field(gt=0, le=MAX_WEIGHT)] = 1.0
    """Its part, among its siblings, of what is beyond all guarantees."""
    lendable: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The part of its idle guarantee that others may use."""
    max_running: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The most tasks and children that run at a time, with all below it."""
    priority_classes: Annotated[dict[Name, Priority], Field(max_length=50)] = {}
    """Where there are some, a job's priority is one of them; unset, as the queue above says."""
    owners: People = []
    """Who may change it and all below it; what it may count on, the owners above it alone."""
    submitters: People = []
    """Who may submit jobs; unset, as the queue above says, and everybody where none does."""
    pending_ttl_seconds: Annotated[float, Field(ge=1, le=366 * 86400)] | None = None
    """How long a job of it may wait for its start; unset, as the queue above says."""
    hold: Hold = Hold.OPEN
    ordering: QueueOrdering = QueueOrdering.BACKFILL
    """What happens behind a job that does not fit: all wait, or what does not delay it starts."""
    fence: bool = False
    """Work below it preempts only work below it."""
    min_protected_seconds: Annotated[float, Field(ge=0, le=86400)] = 60.0
    """For how long a task of it runs before anybody may preempt it."""
    retry: RetryPolicy | None = None
    """For jobs that say nothing of it; unset, as the queue above says."""
    unplaceable: Unplaceable = Unplaceable.MARK

    @model_validator(mode="after")
    def _the_guarantee_is_below_the_limit(self) -> Self:
        for name in GroupAmounts.model_fields:
            guarantee, limit = getattr(self.guarantee, name), getattr(self.limit, name)
            if guarantee is not None and limit is not None and guarantee > limit:
                raise ValueError(
                    f"guarantee.{name} is {guarantee}, above limit.{name}, which is {limit}"
                )
        return self


Revision = Annotated[int, Field(ge=0)]


class QueueChange(QueueSpec):
    """What a queue shall be from now on: all of it, and who wants it so."""

    revision: Revision | None = None
    """The revision that it must have now, 0 for one that must not be there; unset, any."""
    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)
    """Kept with the queue; shown to everyone who looks at it."""

    @property
    def spec(self) -> QueueSpec:
        return QueueSpec.model_validate(self.model_dump(include=set(QueueSpec.model_fields)))


class QueueEdit(Spec):
    """One queue of a set of changes."""

    path: QueuePath
    spec: QueueSpec | None = None
    """All of what it shall be; unset, it is removed."""
    revision: Revision | None = None


class QueueChangeSet(Spec):
    """Changes of several queues that happen together, or not at all."""

    changes: Annotated[list[QueueEdit], Field(min_length=1, max_length=MAX_CHANGES)]
    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _each_queue_once(self) -> Self:
        paths = [each.path for each in self.changes]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"changes: {path} is there twice")
        return self


class QueueDocument(Record):
    """A queue and what it uses now."""

    path: str
    parent: str | None
    leaf: bool
    """Only leaves take jobs."""
    spec: QueueSpec
    revision: int
    by: str = ""
    reason: str = ""
    used: GroupAmounts
    """What its running work, and that of all below it, holds of hosts."""
    counts_on: GroupAmounts
    """What it gets when everybody asks for all they may have, on the hosts that there are now."""
    jobs: int = 0
    """Jobs of it and of all below it that have not ended."""
    running: int = 0
    """Attempts that have a host."""
    waiting: int = 0
    """Attempts that wait for one."""
    held_by: str | None = None
    """The queue, itself or one above, whose hold it is under."""
    created_at: Timestamp
    updated_at: Timestamp
    links: dict[str, str] = {}


class QueueHistoryItem(Record):
    """One change of a queue."""

    id: int
    change_set: str
    """The same for all that changed together."""
    path: str
    kind: str
    """``created``, ``changed`` or ``removed``."""
    revision: int
    by: str = ""
    reason: str = ""
    at: AwareDatetime
    before: QueueSpec | None = None
    after: QueueSpec | None = None
    moved_to: str | None = None
    """Where the jobs of a removed queue went."""


class QueueOutlook(Record):
    """What some changes mean to one queue."""

    path: str
    counts_on: GroupAmounts | None
    """What it can count on now; none for one that is not there."""
    would_count_on: GroupAmounts | None
    used: GroupAmounts
    above_limit: GroupAmounts
    """What it uses beyond the limit that it would have."""
    reclaimable: GroupAmounts
    """What it uses beyond the guarantee that it would have: the owners of idle ones get it back."""


class QueuePreemption(Record):
    """Work that would have to leave for other work, which it has not to now."""

    job: str
    """The workflow id of the job that loses."""
    queue: str
    tasks: int
    """How many of its children that run."""
    for_queue: str
    """The queue whose work gets their place."""


class QueuePlan(Record):
    """What some changes would do; nothing was written."""

    valid: bool
    faults: list[str] = []
    """Why they would be refused."""
    warnings: list[str] = []
    queues: list[QueueOutlook] = []
    """Those that would be changed, and those that would count on something else than now."""
    preempted: list[QueuePreemption] = []
    """Who would have to leave, were the first round of the scheduler right behind the change."""


class QueueLeaving(Record):
    """A queue that goes when its last job has ended."""

    path: str
    jobs: int
    """Jobs that have not ended yet."""

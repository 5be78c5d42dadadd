"""Batch: arrays of container tasks that are queued, retried and counted as one job."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Name, Record, Spec, Timestamp, Waiting
from fleetwide.models.batch_dependencies import MOST_DEPENDENCIES, Dependency
from fleetwide.models.batch_states import BatchState
from fleetwide.models.capacity_groups import DEFAULT_GROUP, DEFAULT_PRIORITY, Priority
from fleetwide.models.containers import ContainerSpec
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.labels import Labels
from fleetwide.models.queues import DEFAULT_QUEUE, QueuePath
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason
from fleetwide.models.texts import Line

MAX_ARRAY_SIZE = 100_000
INDEX_VARIABLE = "FLEETWIDE_ARRAY_INDEX"
SIZE_VARIABLE = "FLEETWIDE_ARRAY_SIZE"
ATTEMPT_VARIABLE = "FLEETWIDE_ATTEMPT"
JOB_VARIABLE = "FLEETWIDE_JOB_ID"
INDEX_ALIASES = ("AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX")
"""What programs that ran on AWS Batch or Kubernetes look for."""
MAX_JOB_SECONDS = 31_536_000


class OnFailure(StrEnum):
    """What becomes of the others when a child has failed for good."""

    BEST_EFFORT = "best_effort"
    FAIL_FAST = "fail_fast"


class BatchJobSpec(Spec):
    """Input of the ``BatchJob`` workflow: ``size`` copies of one container, told apart by index."""

    app: Name
    owner: Line = Field(default="", max_length=200)
    queue: QueuePath = DEFAULT_QUEUE
    """A leaf of the tree of queues: see ``fleetwide queue tree``."""
    size: Annotated[int, Field(ge=1, le=MAX_ARRAY_SIZE)] = 1
    """Number of children; each finds its index in FLEETWIDE_ARRAY_INDEX."""
    max_parallel: Annotated[int, Field(ge=1, le=500)] = 100
    """The most children that run at the same time."""
    accumulate: bool = False
    """Whether it stays open when all children have ended, and takes more, until it is closed."""
    on_failure: OnFailure = OnFailure.BEST_EFFORT
    """``best_effort`` runs all children; ``fail_fast`` stops once too many have failed."""
    success_quorum: Annotated[int, Field(ge=1, le=MAX_ARRAY_SIZE)] | None = None
    """So many children have to succeed for the job to; unset, all of them."""
    hold: bool = False
    """Whether it waits for somebody to release it."""
    depends_on: Annotated[list[Dependency], Field(max_length=MOST_DEPENDENCIES)] = []
    """No child gets a host before all of these jobs have ended as wanted."""
    start_after: Timestamp | None = None
    """No child gets a host before."""
    deadline: Timestamp | None = None
    """What has not ended by then is stopped, and the job fails unless its quorum is met."""
    time_limit_seconds: Annotated[float, Field(ge=5, le=MAX_JOB_SECONDS)] | None = None
    """The same, counted from the job's start: all attempts and waits of all children."""
    labels: Labels = {}
    capacity_group: Name = DEFAULT_GROUP
    """The part of the fleet that it counts to: see ``fleetwide capacity-group list``."""
    priority: Priority = DEFAULT_PRIORITY
    """Within its capacity group the higher one gets a host first; 0 to 100."""
    container: ContainerSpec
    retry: RetryPolicy = RetryPolicy()

    @model_validator(mode="after")
    def _limit_is_there(self) -> Self:
        self.container.check_no_copy()
        self.container.disconnect.check_reconcile()
        return self

    @model_validator(mode="after")
    def _it_can_be_met(self) -> Self:
        if self.success_quorum is not None and self.success_quorum > self.size:
            raise ValueError(f"success_quorum is {self.success_quorum}, but size is {self.size}")
        starts, ends = self.start_after, self.deadline
        if starts is not None and ends is not None and ends <= starts:
            raise ValueError(f"deadline {ends} is not after start_after {starts}")
        return self

    disruption_budget: DisruptionBudget | None = None
    """What moving it for the platform's own reasons may cost; unset, the default of its kind."""


class ChildState(StrEnum):
    """Where one child of an array stands."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Child(Record):
    """One child and how its last attempt ended."""

    index: int
    state: ChildState = ChildState.PENDING
    attempts: int = 0
    exit_code: int | None = None
    reason: EndReason | None = None
    host_id: str | None = None


class BatchResult(Record):
    """Result of the ``BatchJob`` workflow."""

    job_id: str
    state: BatchState
    size: int
    succeeded: int
    failed: int
    cancelled: int
    attempts: int
    message: str = ""
    """Why it was stopped before all children had ended; empty otherwise."""
    children: list[Child]


class BatchStatus(Record):
    """Answer of the ``status`` query of a ``BatchJob``."""

    job_id: str
    state: BatchState
    size: int
    counts: dict[ChildState, int]
    waiting: Waiting | None = None

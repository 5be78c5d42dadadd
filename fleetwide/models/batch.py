"""Batch: arrays of container tasks that are queued, retried and counted as one job."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Name, Record, Spec, Waiting
from fleetwide.models.containers import (
    ContainerSpec,
    EndReason,
    RetryPolicy,
)
from fleetwide.models.texts import Line

MAX_ARRAY_SIZE = 100_000
INDEX_VARIABLE = "FLEETWIDE_ARRAY_INDEX"
SIZE_VARIABLE = "FLEETWIDE_ARRAY_SIZE"
ATTEMPT_VARIABLE = "FLEETWIDE_ATTEMPT"
JOB_VARIABLE = "FLEETWIDE_JOB_ID"


class BatchJobSpec(Spec):
    """Input of the ``BatchJob`` workflow: ``size`` copies of one container, told apart by index."""

    app: Name
    owner: Line = Field(default="", max_length=200)
    queue: Name = "default"
    size: Annotated[int, Field(ge=1, le=MAX_ARRAY_SIZE)] = 1
    """Number of children; each finds its index in FLEETWIDE_ARRAY_INDEX."""
    max_parallel: Annotated[int, Field(ge=1, le=500)] = 100
    """The most children that run at the same time."""
    container: ContainerSpec
    retry: RetryPolicy = RetryPolicy()


class ChildState(StrEnum):
    """Where one child of an array stands."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BatchState(StrEnum):
    """Where the whole job stands."""

    RUNNING = "running"
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
    children: list[Child]


class BatchStatus(Record):
    """Answer of the ``status`` query of a ``BatchJob``."""

    job_id: str
    state: BatchState
    size: int
    counts: dict[ChildState, int]
    waiting: Waiting | None = None

"""Metrics of services: figures that hosts and programs push, and that scaling goes by."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Name, Record, Spec, Timestamp
from fleetwide.models.texts import Line

METRIC_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$"
MAX_VALUE = 1e15
MAX_BATCH = 1000
KEPT_EACH = 50_000
"""Samples of one service; what is older than these is added up by the minute."""
MAX_SAMPLES = 300_000
"""Of one service, for ten metrics of 2,500 copies in three minutes; beyond them the oldest go."""
MINUTE = timedelta(minutes=1)
MAX_HISTORY_SECONDS = 3600
"""No policy looks further back."""
KEPT = timedelta(seconds=2 * MAX_HISTORY_SECONDS)
"""Older samples are of no use to anybody."""
SHOWN = timedelta(minutes=10)
"""People see these, also where no policy looks back so far."""
MAX_AHEAD = timedelta(seconds=60)
"""How far a clock may be ahead of the platform's."""


class Metric(StrEnum):
    """The names that mean something to the platform; any other is a custom metric."""

    CPU = "cpu"
    """Of one copy, as a fraction of what it asked for; hosts push it."""
    MEMORY = "memory"
    """The same of its memory, without the page cache that can be given back at once."""
    REQUESTS = "requests"
    """Per second: of one copy, or of the whole service where no task is named."""
    QUEUE_DEPTH = "queueDepth"
    """What waits for the whole service."""


PUSHED_BY_HOSTS: frozenset[str] = frozenset({Metric.CPU, Metric.MEMORY})

MetricName = Annotated[str, Field(pattern=METRIC_PATTERN, examples=["queueDepth"])]


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure at one moment; ``task_id`` is empty where it is of the whole service."""

    metric: str
    task_id: str
    value: float
    at: datetime


@dataclass(frozen=True, slots=True)
class MinuteFigures:
    """All samples of one metric in one minute: of the copies, or of the whole service."""

    metric: str
    of_copies: bool
    at: datetime
    """The middle of the minute."""
    together: float
    """The sum of each copy's average; the average of what was told of the whole service."""
    samples: int
    total: float
    """Of all samples, as ``least`` and ``most``."""
    least: float
    most: float


class MetricSample(Spec):
    """One figure of a service, or of one of its copies."""

    service: Name
    task: Name | None = None
    """The id of the copy that it is of; unset, it is of the whole service."""
    name: MetricName
    value: Annotated[float, Field(ge=0, le=MAX_VALUE, allow_inf_nan=False)]
    at: Timestamp | None = None
    """When it was so; unset, now. Hours old ones are left out, future ones refused."""

    @model_validator(mode="after")
    def _task_is_of_the_service(self) -> Self:
        if self.task is not None and self.task.rsplit(".", 2)[0] != self.service:
            raise ValueError(f"task: {self.task} is no copy of the service {self.service}")
        return self


class MetricBatch(Spec):
    """What one source tells at once. Sent again, nothing counts twice."""

    source: Line = Field(min_length=1, max_length=200, examples=["queue-exporter"])
    """Who tells. One figure of one source at one moment is kept once; the first one stays."""
    samples: Annotated[list[MetricSample], Field(min_length=1, max_length=MAX_BATCH)]


class MetricsTaken(Record):
    """What became of a batch."""

    taken: int
    known: int = 0
    """They were there already."""
    too_old: int = 0


class MetricDocument(Record):
    """One sample as it was kept."""

    service: str
    task: str | None = None
    name: str
    value: float
    at: Timestamp
    source: str


class CopyUsage(Record):
    """What a copy of a service takes of what it asked for, as its host measured it."""

    task_id: str
    service_id: str
    at: Timestamp
    cpu: float
    """Since the measure before."""
    memory: float

"""What people and the platform ask of a service, and of its copies: updates and signals."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Name, Record, Spec
from fleetwide.models.evictions import Eviction
from fleetwide.models.labels import MAX_LABELS, LabelName, Labels
from fleetwide.models.services import ContainerServiceSpec, Count
from fleetwide.models.task_states import EndReason
from fleetwide.models.texts import Line, Prose


class ServiceMove(Spec):
    """Who wants something of a service, and why; both are kept in its history."""

    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)
    expected_version: int | None = Field(default=None, ge=1)
    """Only if the service has this version still; else it is a conflict, and nothing changes."""


class Kept(StrEnum):
    """What has updates of its own, and need not be changed by a new version."""

    CAPACITY = "capacity"
    ENABLED = "enabled"
    PROCESSES = "processes"
    OWNER = "owner"
    LABELS = "labels"


class DeployRequest(ServiceMove):
    """A new version of a service's spec."""

    reason: Prose = Field(default="a new version", min_length=1, max_length=500)
    spec: ContainerServiceSpec
    keep: Annotated[list[Kept], Field(max_length=len(Kept))] = []
    """What stays as it is now, whatever the spec says."""


class ServiceScale(ServiceMove):
    """How many copies there shall be; what is not given stays."""

    min: Count | None = None
    desired: Count | None = None
    max: Count | None = None
    numbers: dict[str, float] = Field(default={}, max_length=50)
    """What the decision was made from; kept in the history."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.min is None and self.desired is None and self.max is None:
            raise ValueError("needs one of min, desired, max")
        return self


class ServiceSwitch(ServiceMove):
    """Whether anything scales the service by itself."""

    enabled: bool


class ServiceProcesses(ServiceMove):
    """What nobody may do to ``desired`` until it is allowed again; what is not given stays."""

    disable_increase_desired: bool | None = None
    disable_decrease_desired: bool | None = None


class ServiceAttributes(ServiceMove):
    """Another owner, other labels; what is not given stays. Copies that run keep theirs."""

    owner: Line | None = Field(default=None, max_length=200)
    labels: Labels = {}
    """Set beside those that there are."""
    remove_labels: Annotated[list[LabelName], Field(max_length=MAX_LABELS)] = []

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.owner is None and not self.labels and not self.remove_labels:
            raise ValueError("needs one of owner, labels, remove_labels")
        both = sorted(self.labels.keys() & set(self.remove_labels))
        if both:
            raise ValueError(f"remove_labels: {', '.join(both)} cannot be set and removed at once")
        return self


class ServiceRollback(ServiceMove):
    """Back to an earlier revision."""

    revision: int | None = Field(default=None, ge=1)
    """Unset, the last good one before the newest."""


class CopyTermination(ServiceMove):
    """Ends one copy: another takes its place, unless the service shrinks."""

    task_id: Line = Field(max_length=200)
    """The copy, as ``fleetwide service copies`` tells it."""
    shrink: bool = False
    """One copy less is desired from now on."""
    prevent_min_update: bool = False
    """Refuse rather than lower ``min`` for that."""


class TaskMove(ServiceMove):
    """A running copy becomes one of another service, without a restart."""

    task_id: Line = Field(max_length=200)
    """The copy, as ``fleetwide service copies`` tells it."""
    to: Name
    """The service that it is a copy of from now on."""


class CopyMove(Eviction):
    """Argument of the ``move`` signal of ``ContainerService``: a copy has to leave its host.

    Another takes its place first, if the deploy policy's surge allows one.
    """

    forced: bool = False
    """It is stopped at once."""


class CopyStop(Record):
    """Argument of the ``stop`` signal of a copy's ``ContainerTask``."""

    reason: EndReason
    message: str = ""

"""Jobs that wait for others to end."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Record, Spec
from fleetwide.models.batch_states import BatchState
from fleetwide.models.containers import JobHeader

MOST_DEPENDENCIES = 100
JobId = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62})$")]


class Condition(StrEnum):
    """How another job has to end."""

    AFTER_OK = "afterok"
    AFTER_ANY = "afterany"
    AFTER_NOT_OK = "afternotok"


class Dependency(Spec):
    """Another job, which is there already: so no circle of jobs can wait for itself."""

    job: JobId
    """Its id, without ``batch/``."""
    condition: Condition = Condition.AFTER_OK
    """``afterok``: it succeeded; ``afternotok``: it failed or was cancelled; ``afterany``."""


class DependencyQuestion(Record):
    """Input of ``batch.dependencies``."""

    job: JobHeader
    depends_on: list[Dependency]


class DependencyState(Record):
    """How another job stands."""

    job: str
    condition: Condition
    state: BatchState

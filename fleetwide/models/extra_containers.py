"""Containers that run beside a task's main one."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Record, Spec
from fleetwide.models.health import ContainerHealth, HealthReport
from fleetwide.models.isolation import Security
from fleetwide.models.launching import Env, ImageReference, Words
from fleetwide.models.task_states import TaskState
from fleetwide.models.volumes import Mounts

MAX_EXTRA_CONTAINERS = 8
EXTRA_PATTERN = r"^[a-z][a-z0-9-]{0,30}$"
MAIN = "main"
"""The name of a task's first container, which no other may have."""

ExtraName = Annotated[str, Field(pattern=EXTRA_PATTERN, examples=["log-shipper"])]


class Start(StrEnum):
    """When an extra container is started."""

    BEFORE = "before"
    """It is up, and healthy if it has a check, before the main one starts."""
    WITH = "with"
    """Right after the main one."""


class ExtraContainer(Spec):
    """A container that shares the main one's network and the task's resources."""

    name: ExtraName
    image: ImageReference
    entrypoint: Words | None = None
    """Replaces the image's entry point when given."""
    command: Words | None = None
    """Replaces the image's command when given."""
    env: Env = {}
    mounts: Mounts = []
    start: Start = Start.WITH
    essential: bool = False
    """Whether the task ends when this one ends with anything but exit code 0."""
    health: ContainerHealth | None = None
    security: Security | None = None
    """Unset, the main one's."""


ExtraContainers = Annotated[list[ExtraContainer], Field(max_length=MAX_EXTRA_CONTAINERS)]


class ExtraProgress(Record):
    """An extra container as its host sees it."""

    name: str
    state: TaskState
    health: HealthReport | None = None


class ExtraEnd(Record):
    """How an extra container ended, with the evidence."""

    name: str
    exit_code: int | None = None
    """None when it never ran."""
    oom_killed: bool = False
    message: str = ""
    log_key: str
    last_lines: list[str] = []

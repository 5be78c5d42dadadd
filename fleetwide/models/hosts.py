"""Container hosts: what they offer, what they tell of themselves and of their containers."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Bytes, Cpu, Memory, Name, Record, Spec, Timestamp
from fleetwide.models.containers import AttemptKey
from fleetwide.models.extra_containers import ExtraProgress
from fleetwide.models.health import HealthReport
from fleetwide.models.image_room import ImageCollection
from fleetwide.models.metrics import CopyUsage
from fleetwide.models.metrics_endpoint import CopyMetrics
from fleetwide.models.resources import HostPort
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.models.texts import Line

DEFAULT_FIRST_PORT = 20_000
DEFAULT_LAST_PORT = 32_000
MAX_DEVICES = 64
IMAGE_MARK_LENGTH = 16


class HostSpec(Spec):
    """Input of the ``Host`` workflow: a machine that offers to run containers."""

    host_id: Name
    cpu: Cpu
    memory: Memory
    disk: Annotated[Bytes, Field(ge=0)] | None = None
    """Bytes for what containers write; unset, what the machine itself reports."""
    network: Annotated[int, Field(ge=0)] | None = None
    """Mbit/s; unset, what the machine itself reports."""
    gpus: Annotated[list[Line], Field(max_length=MAX_DEVICES)] | None = None
    """Devices by id; unset, what the machine itself reports."""
    first_port: HostPort = DEFAULT_FIRST_PORT
    last_port: HostPort = DEFAULT_LAST_PORT
    """The platform chooses ports for containers from these."""
    labels: dict[Line, Line] = {}
    report_seconds: float = 1.0
    """So often it reports; it is taken for silent after ten times as long."""

    @model_validator(mode="after")
    def _ports_are_a_range(self) -> Self:
        if self.last_port < self.first_port:
            raise ValueError(f"last_port must be {self.first_port} or more, as first_port is")
        return self


class ContainerReport(Record):
    """One container as its host sees it."""

    key: AttemptKey
    state: TaskState
    since: Timestamp
    health: HealthReport | None = None
    """What the main container's checks tell."""
    extra_containers: list[ExtraProgress] = []
    reason: EndReason | None = None
    """Why it is being stopped."""


class HostReport(Record):
    """What a host's heartbeat carries."""

    host_id: str
    docker_version: str = ""
    containers: list[ContainerReport] = []
    images: list[str] | None = None
    """Marks of the images that it holds, the newest ones; None when it could not look."""
    collected: ImageCollection | None = None
    """What it last did to have room for images."""
    pressure: str = ""
    """Why it should get no new work for now, in words; empty where nothing presses."""
    usages: list[CopyUsage] = []
    """What copies of services took when they were measured last."""
    endpoints: list[CopyMetrics] = []
    """What was read last at the metrics endpoints of copies of services."""


class HostState(StrEnum):
    """Whether a host takes work, and whether it answers."""

    ACTIVE = "Active"
    PHASED_OUT = "PhasedOut"
    """Takes work only where no active host does."""
    INACTIVE = "Inactive"
    """Cordoned: takes no work, and goes on with what it has."""
    REMOVABLE = "Removable"
    """Drained: nothing runs on it, and it may go."""
    DISCONNECTED = "Disconnected"
    """It does not answer; it may come back."""
    LOST = "Lost"
    """It has not answered for so long that it is given up; it may still come back."""
    REMOVED = "Removed"


TAKES_WORK = frozenset({HostState.ACTIVE, HostState.PHASED_OUT})
ANSWERS = TAKES_WORK | {HostState.INACTIVE, HostState.REMOVABLE}


class HostReserve(Record):
    """What a host keeps back for its system and for the platform's own processes."""

    cpu: float = 0.0
    memory: int = 0
    disk: int = 0
    network: int = 0


class HostFacts(Record):
    """A host's machine and container engine, as they are; memory and disk in bytes."""

    host_id: str
    docker_version: str
    os: str
    kernel: str
    architecture: str
    cpus: int
    memory: int
    cgroup_version: str = ""
    cpu_model: str = ""
    disk: int | None = None
    """All of the file system that containers write to; None where it cannot be seen."""
    network: int | None = None
    """Mbit/s of the link to the outside; None where the system does not know."""
    gpus: list[str] = []
    """Devices by id: NVIDIA's own, or paths of device nodes."""
    reserve: HostReserve = HostReserve()
    """What is kept back of all this."""
    disk_offered: int | None = None
    """What is free of the disk, less the reserve."""
    network_offered: int | None = None
    address: str = ""
    """IP address that others reach its containers' ports by; empty where it is not known."""
    labels: dict[str, str] = {}
    """What the machine says of itself: ``zone``, ``machine-type``, ``cpu-model``, ..."""
    limits: dict[str, str] = {}
    """How each resource is kept to what a container asked for, or why it is not."""


class HostRegistration(Record):
    """What a host offers, and what its machine is."""

    spec: HostSpec
    facts: HostFacts


class PullProgress(Record):
    """How far an image pull is; bytes as they travel (compressed)."""

    layers: int = 0
    layers_done: int = 0
    bytes_done: int = 0
    bytes_total: int = 0


class RunProgress(Record):
    """Heartbeat details of a running attempt."""

    state: TaskState
    container_id: str | None = None
    log_bytes: int = 0
    pull: PullProgress | None = None
    health: HealthReport | None = None
    extra_containers: list[ExtraProgress] = []
    tries_in_vain: int = 0
    """How many tries in a row, this one the last, have not held the running container."""


def image_mark(image: str) -> str:
    """What stands for ``repository@sha256:...`` in reports: short, as they come every second."""
    return image.partition("@sha256:")[2][:IMAGE_MARK_LENGTH]


def host_task_queue(host_id: str) -> str:
    """The Temporal task queue that only this host polls."""
    return f"host.{host_id}"

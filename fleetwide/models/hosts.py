"""What a container host tells of itself and of the containers it runs."""

from fleetwide.models.base import Record
from fleetwide.models.containers import HostSpec, TaskState


class HostFacts(Record):
    """A host's machine and container engine; memory in bytes."""

    host_id: str
    docker_version: str
    os: str
    kernel: str
    architecture: str
    cpus: int
    memory: int
    cgroup_version: str = ""


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

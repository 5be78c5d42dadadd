"""Container tasks: what people ask for, what the platform decides, what came of it."""

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ByteSize, Field, field_validator

from fleetwide.models.base import Cpu, Memory, Name, Record, Spec, Timestamp, Waiting, slug
from fleetwide.models.texts import Line, Prose, Word

MAX_ENV_BYTES = 32 * 1024
MAX_ENTRYPOINT_BYTES = 16 * 1024
IMAGE_PATTERN = (
    r"^(?P<repository>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?:(?:@(?P<digest>sha256:[0-9a-f]{64}))|(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})))$"
)

ImageReference = Annotated[
    str,
    Field(
        description="repository:tag or repository@sha256:... in the platform's registry",
        examples=["apps/hello:1.0.0"],
    ),
]


class TaskState(StrEnum):
    """A task attempt's states, in the order in which it passes through them."""

    ACCEPTED = "Accepted"
    LAUNCHED = "Launched"
    START_INITIATED = "StartInitiated"
    STARTED = "Started"
    KILL_INITIATED = "KillInitiated"
    DISCONNECTED = "Disconnected"
    FINISHED = "Finished"


class EndReason(StrEnum):
    """Why an attempt ended."""

    NORMAL = "normal"
    FAILED = "failed"
    OOM_KILLED = "oomKilled"
    RUNTIME_LIMIT_EXCEEDED = "runtimeLimitExceeded"
    KILLED = "killed"
    IMAGE_PULL_FAILED = "imagePullFailed"
    START_FAILED = "startFailed"
    LOST = "lost"
    PLATFORM_FAULT = "platformFault"


class RetryBudget(StrEnum):
    """Which counter another attempt is charged to."""

    NONE = "none"
    USER = "user"
    SYSTEM = "system"


# Total over EndReason (a test asserts it): who pays for another attempt, and what people read.
RETRY_BUDGET: dict[EndReason, RetryBudget] = {
    EndReason.NORMAL: RetryBudget.NONE,
    EndReason.FAILED: RetryBudget.USER,
    EndReason.OOM_KILLED: RetryBudget.USER,
    EndReason.RUNTIME_LIMIT_EXCEEDED: RetryBudget.NONE,
    EndReason.KILLED: RetryBudget.NONE,
    EndReason.IMAGE_PULL_FAILED: RetryBudget.SYSTEM,
    EndReason.START_FAILED: RetryBudget.USER,
    EndReason.LOST: RetryBudget.SYSTEM,
    EndReason.PLATFORM_FAULT: RetryBudget.SYSTEM,
}
END_TEXT: dict[EndReason, str] = {
    EndReason.NORMAL: "ended normally",
    EndReason.FAILED: "the process ended with a non-zero exit code",
    EndReason.OOM_KILLED: "the kernel killed the process because it passed its memory limit",
    EndReason.RUNTIME_LIMIT_EXCEEDED: "the runtime limit passed",
    EndReason.KILLED: "somebody asked for it to end",
    EndReason.IMAGE_PULL_FAILED: "the host could not pull the image",
    EndReason.START_FAILED: "the container could not be started",
    EndReason.LOST: "the host disappeared",
    EndReason.PLATFORM_FAULT: "the platform failed",
}


class PendingCode(StrEnum):
    """Why an attempt has no host yet."""

    NO_HOSTS = "noHosts"
    EXCEEDS_EVERY_HOST = "exceedsEveryHost"
    HOSTS_FULL = "hostsFull"
    CONSTRAINTS_UNMET = "constraintsUnmet"
    WAITING_RETRY = "waitingRetry"


class Resources(Spec):
    """What one container may use; the host reserves it and the kernel enforces it."""

    cpu: Cpu = 1.0
    """CPUs, in steps of 0.001."""
    memory: Memory = ByteSize(512 * 1024**2)
    """Bytes, or a text such as 512MiB."""

    @property
    def cpu_milli(self) -> int:
        return round(self.cpu * 1000)


class RetryPolicy(Spec):
    """How often a failed attempt is tried again; the platform's own faults are not counted."""

    retries: Annotated[int, Field(ge=0, le=100)] = 0
    """Further attempts after the first one failed."""
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Wait before the first retry; each later wait doubles."""
    max_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """The longest wait between two attempts."""


class Network(StrEnum):
    """The network a container gets."""

    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


class ContainerSpec(Spec):
    """What runs: an image, how it is started, what it may use."""

    image: ImageReference
    entrypoint: list[Word] | None = None
    """Replaces the image's entry point when given."""
    command: list[Word] | None = None
    """Replaces the image's command when given."""
    env: dict[str, Word] = {}
    resources: Resources = Resources()
    network: Network = Network.BRIDGE
    host_labels: dict[Line, Line] = {}
    """Only hosts that carry all these labels are used."""
    runtime_limit_seconds: Annotated[float, Field(ge=5, le=864_000)] = 432_000.0
    """An attempt that runs longer is killed; 5 seconds to 10 days."""

    @field_validator("image")
    @classmethod
    def _image_has_tag_or_digest(cls, value: str) -> str:
        if not re.fullmatch(IMAGE_PATTERN, value):
            raise ValueError(
                "must be repository:tag or repository@sha256:<64 hex digits> in this registry"
            )
        return value

    @field_validator("env")
    @classmethod
    def _env_is_small(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"{name!r} is not the name of an environment variable")
        size = sum(len(k.encode()) + len(v.encode()) + 2 for k, v in value.items())
        if size > MAX_ENV_BYTES:
            raise ValueError(f"is {size} bytes in all; the limit is {MAX_ENV_BYTES}")
        return value

    @field_validator("entrypoint", "command")
    @classmethod
    def _words_are_small(cls, value: list[str] | None) -> list[str] | None:
        size = sum(len(word.encode()) + 1 for word in value or [])
        if size > MAX_ENTRYPOINT_BYTES:
            raise ValueError(f"is {size} bytes in all; the limit is {MAX_ENTRYPOINT_BYTES}")
        return value


class ContainerTaskSpec(Spec):
    """Input of the ``ContainerTask`` workflow: one container, run to its end."""

    app: Name
    """The application that the task belongs to."""
    owner: Line = Field(default="", max_length=200)
    """Who answers for it: a team or an e-mail address."""
    container: ContainerSpec
    retry: RetryPolicy = RetryPolicy()


class AttemptKey(Record):
    """Names one attempt for ever: container names, log keys and rows derive from it."""

    workflow_id: str
    run_id: str
    index: int = 0
    """The array index of a batch child; 0 for a container task."""
    attempt: int = 1

    def container_name(self) -> str:
        """The Docker name: readable, unique, and the same on every try of the same attempt."""
        seed = f"{self.workflow_id}\0{self.run_id}\0{self.index}".encode()
        digest = hashlib.sha256(seed).hexdigest()[:12]
        return f"fw-{slug(self.workflow_id)}-{digest}-{self.index}-{self.attempt}"

    def log_key(self) -> str:
        """Where the attempt's log lies in the object store."""
        return f"logs/{self.container_name()}"


class AttemptRequest(Record):
    """One attempt that wants a host."""

    index: int = 0
    attempt: int = 1
    avoid_hosts: list[str] = []


class JobKind(StrEnum):
    """What a job row stands for."""

    TASK = "task"
    BATCH = "batch"


class JobHeader(Record):
    """Who asks and what for; enough to write the job's row from any of its activities."""

    workflow_id: str
    run_id: str
    kind: JobKind
    app: str
    owner: str = ""
    queue: str = ""
    size: int = 1
    container: ContainerSpec
    retry: RetryPolicy


class PlacementRequest(Record):
    """Asks for hosts for some attempts of one job."""

    job: JobHeader
    attempts: list[AttemptRequest]


class Placement(Record):
    """Where one attempt shall run. ``image`` is pinned by digest."""

    index: int = 0
    attempt: int = 1
    host_id: str
    task_queue: str
    image: str


class Placements(Record):
    """The attempts of a request that have a host by now; never empty."""

    placed: list[Placement]


class RunContainer(Record):
    """Input of the host's run activity."""

    key: AttemptKey
    host_id: str
    app: str
    image: str
    container: ContainerSpec
    extra_env: dict[str, str] = {}


class AttemptResult(Record):
    """How one attempt ended, with the evidence."""

    key: AttemptKey
    host_id: str | None = None
    reason: EndReason
    message: str
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    log_key: str | None = None
    last_lines: list[str] = []
    pull_seconds: float | None = None


class TaskResult(Record):
    """Result of the ``ContainerTask`` workflow."""

    task_id: str
    state: TaskState
    reason: EndReason
    message: str
    exit_code: int | None = None
    oom_killed: bool = False
    host_id: str | None = None
    image: str | None = None
    attempts: int = 1
    log_key: str | None = None
    last_lines: list[str] = []


class FinishJob(Record):
    """Books the end of a job: its last attempts, its result, nothing reserved any more."""

    job: JobHeader
    state: str
    attempts: list[AttemptResult] = []
    result: dict[str, Any]


class TaskStatus(Record):
    """Answer of the ``status`` query of a running ``ContainerTask``."""

    task_id: str
    state: TaskState
    attempt: int
    host_id: str | None = None
    image: str | None = None
    waiting: Waiting | None = None
    past_attempts: list[AttemptResult] = []


class HostSpec(Spec):
    """Input of the ``Host`` workflow: a machine that offers to run containers."""

    host_id: Name
    cpu: Cpu
    memory: Memory
    labels: dict[Line, Line] = {}


class ContainerReport(Record):
    """One container as its host sees it."""

    key: AttemptKey
    state: TaskState
    since: Timestamp


class HostReport(Record):
    """What a host's heartbeat carries."""

    host_id: str
    docker_version: str = ""
    containers: list[ContainerReport] = []


class HostState(StrEnum):
    """Whether a host takes work."""

    ACTIVE = "Active"
    DISCONNECTED = "Disconnected"
    REMOVED = "Removed"


class KillRequest(Spec):
    """Argument of the ``kill`` update of ``ContainerTask``, and of ``cancel`` of ``BatchJob``."""

    reason: Prose = Field(min_length=1, max_length=500)
    """Kept with the task; shown to everyone who looks at it."""


def host_task_queue(host_id: str) -> str:
    """The Temporal task queue that only this host polls."""
    return f"host.{host_id}"

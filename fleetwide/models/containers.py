"""Container tasks: what people ask for, what the platform decides, what came of it."""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Name, Record, Spec, Timestamp, Waiting, slug
from fleetwide.models.capacity_groups import DEFAULT_GROUP, DEFAULT_PRIORITY, Priority
from fleetwide.models.container_parts import check_parts
from fleetwide.models.disconnects import DisconnectPolicy
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.extra_containers import ExtraContainers, ExtraEnd
from fleetwide.models.health import ContainerHealth, HealthReport
from fleetwide.models.isolation import Security
from fleetwide.models.labels import Labels
from fleetwide.models.launching import Env, ImageReference, Words
from fleetwide.models.membership import Membership
from fleetwide.models.metrics_endpoint import MetricsEndpoint
from fleetwide.models.placement import Constraints
from fleetwide.models.resources import Resources
from fleetwide.models.retries import Lineage, RetryPolicy
from fleetwide.models.secrets import Secrets
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.models.texts import Line, Prose
from fleetwide.models.volumes import Mounts, Volumes

MAX_STOP_GRACE_SECONDS = 300


class Network(StrEnum):
    """The network a container gets."""

    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


def check_network(resources: Resources, network: Network) -> None:
    """Ports and a rate need a network of its own; ports on the host's are the host's.

    Raises ``ValueError``.
    """
    if network is Network.BRIDGE:
        return
    if resources.network:
        raise ValueError(f"resources.network needs the network bridge, not {network}")
    if resources.ports and network is Network.NONE:
        raise ValueError("resources.ports needs a network, not none")
    other = [name for name, port in resources.ports.items() if port.to is not None]
    if other:
        raise ValueError(
            f"resources.ports.{other[0]}.to: on the network host a program listens on the "
            "host's own port"
        )


class ContainerSpec(Spec):
    """What runs: an image, how it is started, what it may use."""

    image: ImageReference
    entrypoint: Words | None = None
    """Replaces the image's entry point when given."""
    command: Words | None = None
    """Replaces the image's command when given."""
    env: Env = {}
    resources: Resources = Resources()
    network: Network = Network.BRIDGE
    host_labels: dict[Line, Line] = {}
    """Only hosts that carry all these labels are used."""
    constraints: Constraints = Constraints()
    """Which hosts may be used, and which ones are preferred."""
    runtime_limit_seconds: Annotated[float, Field(ge=5, le=864_000)] | None = 432_000.0
    """An attempt that runs longer is killed; 5 seconds to 10 days. Copies of services have none."""
    stop_grace_seconds: Annotated[int, Field(ge=0, le=MAX_STOP_GRACE_SECONDS)] = 10
    """From SIGTERM to SIGKILL when it is ended; 0 to 300 seconds."""
    security: Security = Security()
    disconnect: DisconnectPolicy = DisconnectPolicy()
    """What becomes of it when its host falls silent."""
    volumes: Volumes = []
    """Room for files; they count to ``resources.disk``."""
    mounts: Mounts = []
    health: ContainerHealth | None = None
    metrics_endpoint: MetricsEndpoint | None = None
    """Where a copy of a service tells figures that the service is scaled by."""
    secrets: Secrets = {}
    extra_containers: ExtraContainers = []
    """Share the network and, all together with this one, the resources."""

    @property
    def has_company(self) -> bool:
        """Whether it needs more than its own container: others, volumes, secrets."""
        return bool(self.volumes or self.secrets or self.extra_containers)

    def check_no_copy(self) -> None:
        """Raises ``ValueError`` where it is as only copies of services may be."""
        if self.runtime_limit_seconds is None:
            raise ValueError("container.runtime_limit_seconds: only copies of services have none")
        if self.metrics_endpoint is not None:
            raise ValueError("container.metrics_endpoint: only copies of services are scaled by it")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        has_network = self.network is not Network.NONE
        check_parts(self, has_network=has_network)
        if self.metrics_endpoint is not None and not has_network:
            raise ValueError("metrics_endpoint needs a network; this has none")
        return self

    @model_validator(mode="after")
    def _memory_holds_its_folders(self) -> Self:
        check_network(self.resources, self.network)
        memory = int(self.resources.memory)
        for what, size in (
            ("resources.shared_memory", int(self.resources.shared_memory or 0)),
            ("security.scratch", self.security.scratch_bytes),
        ):
            if size > memory:
                raise ValueError(f"{what} is {size} bytes in all; the memory is {memory}")
        return self

    @model_validator(mode="after")
    def _it_is_stopped_before_it_is_lost(self) -> Self:
        self.disconnect.check(self.stop_grace_seconds)
        return self


class ContainerTaskSpec(Spec):
    """Input of the ``ContainerTask`` workflow: one container, run to its end."""

    app: Name
    """The application that the task belongs to."""
    owner: Line = Field(default="", max_length=200)
    """Who answers for it: a team or an e-mail address."""
    labels: Labels = {}
    capacity_group: Name = DEFAULT_GROUP
    """The part of the fleet that it counts to: see ``fleetwide capacity-group list``."""
    priority: Priority = DEFAULT_PRIORITY
    """Within its capacity group the higher one gets a host first; 0 to 100."""
    container: ContainerSpec
    retry: RetryPolicy = RetryPolicy()
    disruption_budget: DisruptionBudget | None = None
    """What moving it for the platform's own reasons may cost; unset, the default of its kind."""
    membership: Membership | None = None
    """Set by the platform alone: the copy of a service that it is."""

    @model_validator(mode="after")
    def _limit_is_there(self) -> Self:
        if self.membership is None:
            self.container.check_no_copy()
        else:
            self.container.disconnect.check_reconcile()
        return self


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
    lineage: Lineage = Lineage()


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
    labels: dict[str, str] = {}
    capacity_group: str = DEFAULT_GROUP
    priority: int = DEFAULT_PRIORITY
    container: ContainerSpec
    retry: RetryPolicy
    disruption_budget: DisruptionBudget | None = None
    membership: Membership | None = None
    """The copy of a service that it is."""


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
    devices: list[str] = []
    """The GPU devices that it gets, by the ids that the host reported."""
    ports: dict[str, int] = {}
    """The host's port for each name that it asked for."""
    extra_images: dict[str, str] = {}
    """By name of an extra container; pinned by digest, as ``image`` is."""


class Placements(Record):
    """The attempts of a request that have a host by now; none only when its job is over."""

    placed: list[Placement]


class RunContainer(Record):
    """Input of the host's run activity."""

    key: AttemptKey
    host_id: str
    app: str
    image: str
    container: ContainerSpec
    extra_env: dict[str, str] = {}
    devices: list[str] = []
    ports: dict[str, int] = {}
    extra_images: dict[str, str] = {}
    membership: Membership | None = None
    resume: bool = False
    """Go on with a container that runs; none is made or started."""


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
    health: HealthReport | None = None
    """What its checks told last."""
    extra_containers: list[ExtraEnd] = []


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


class KillRequest(Spec):
    """Argument of the ``kill`` update of ``ContainerTask``, and of ``cancel`` of ``BatchJob``."""

    reason: Prose = Field(min_length=1, max_length=500)
    """Kept with the task; shown to everyone who looks at it."""

"""What is told of services: by their workflow, the API and the command line."""

from enum import StrEnum

from fleetwide.models.base import Name, Record, Spec, Timestamp, Waiting
from fleetwide.models.deploys import DeployPhase, DeployState, FailedCopy, Verdict
from fleetwide.models.health import HealthStatus
from fleetwide.models.revisions import SpecChange
from fleetwide.models.services import Capacity, ContainerServiceSpec, Processes
from fleetwide.models.task_states import EndReason, TaskState


class ServiceState(StrEnum):
    """Whether a service is kept up."""

    ACTIVE = "Active"
    DELETING = "Deleting"
    DELETED = "Deleted"


class ServiceWait(StrEnum):
    """What a service waits for, beside what its deploy does."""

    NO_HOST = "noHost"
    BACKING_OFF = "backingOff"
    NOT_READY = "copiesNotReady"
    STOPPING = "copiesStopping"


# Total over ServiceWait (a test asserts it): what people read before the numbers.
WAIT_TEXT: dict[ServiceWait, str] = {
    ServiceWait.NO_HOST: "copies wait for a host",
    ServiceWait.BACKING_OFF: "copies ended soon after their start; the next ones wait a little",
    ServiceWait.NOT_READY: "copies are not ready yet",
    ServiceWait.STOPPING: "copies are being stopped",
}


class RevisionCount(Record):
    """The copies of one revision."""

    revision: int
    live: int = 0
    ready: int = 0
    wanted: int = 0


class DeployDocument(Record):
    """How far a deploy is."""

    number: int
    from_revision: int | None = None
    to_revision: int
    strategy: str
    phase: DeployPhase
    step: int = 0
    reason: str = ""
    numbers: dict[str, float] = {}
    failed: int = 0
    """Copies that spoke against the new version."""
    failures: list[FailedCopy] = []
    """The last of them."""
    verdicts: list[Verdict] = []
    """How the steps of a canary were judged."""
    switched_at: Timestamp | None = None
    """Since when the new version gets the requests of blue/green."""
    started_at: Timestamp
    finished_at: Timestamp | None = None

    @classmethod
    def of(cls, state: DeployState) -> "DeployDocument":
        return cls.model_validate(state.model_dump(include=set(cls.model_fields)))


class ServiceStatus(Record):
    """Answer of the ``status`` query: counts, the deploy, and what the service waits for."""

    service_id: str
    state: ServiceState
    version: int
    """What a change may insist on; it counts all changes but those of ``desired`` alone."""
    revision: int
    capacity: Capacity
    enabled: bool = True
    processes: Processes = Processes()
    live: int = 0
    ready: int = 0
    stopping: int = 0
    """Copies that leave their load balancers or are being stopped."""
    leaving: int = 0
    """Copies that have to leave their hosts once others have taken their places."""
    by_revision: list[RevisionCount] = []
    deploy: DeployDocument | None = None
    waiting: Waiting | None = None
    looked_at: Timestamp | None = None


class ServiceDocument(Record):
    """A service with what is wanted of it and what there is."""

    id: str
    workflow_id: str
    app: str
    owner: str = ""
    labels: dict[str, str] = {}
    status: ServiceStatus
    spec: ContainerServiceSpec
    """As it holds now, with the capacity and the switches of now."""
    created_at: Timestamp
    updated_at: Timestamp
    links: dict[str, str] = {}


class CopyDocument(Record):
    """One copy of a service; those that have ended, too."""

    task_id: str
    index: int
    incarnation: int
    revision: int
    state: TaskState
    health: HealthStatus | None = None
    ready: bool = False
    host_id: str | None = None
    zone: str = ""
    leaving: bool = False
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    reason: EndReason | None = None
    message: str = ""
    links: dict[str, str] = {}


class RevisionDocument(Record):
    """One version of a service's spec."""

    number: int
    template: int
    """The revision whose copies need not be replaced for it; mostly itself."""
    by: str = ""
    reason: str = ""
    at: Timestamp
    verdict: str | None = None
    """``good``, ``bad``, or nothing until it is known."""
    verdict_reason: str = ""
    changes: list[SpecChange] = []
    """What differs from the version before; what may be a credential is not shown."""
    spec: ContainerServiceSpec


class ActivityDocument(Record):
    """One change of a service: what, by whom, why, by which numbers."""

    number: int
    at: Timestamp
    kind: str
    by: str = ""
    reason: str = ""
    sentence: str
    numbers: dict[str, float] = {}
    before: dict[str, object] = {}
    after: dict[str, object] = {}


class NewService(Spec):
    """A service that shall be there from now on."""

    name: Name
    """Ids of its copies' tasks begin with it."""
    spec: ContainerServiceSpec

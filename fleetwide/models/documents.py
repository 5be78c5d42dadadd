"""The documents that the HTTP API answers with; the client and the CLI read the same models."""

from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import Field

from fleetwide.errors import FieldFault
from fleetwide.models.bakes import BakedImage, BakeFailure, BakeState, StageTime
from fleetwide.models.base import Record, Timestamp, Waiting
from fleetwide.models.batch import ChildState
from fleetwide.models.capacity_groups import DEFAULT_GROUP, DEFAULT_PRIORITY
from fleetwide.models.disturbances import RefusalCode
from fleetwide.models.health import HealthReport
from fleetwide.models.hosts import HostFacts
from fleetwide.models.os_releases import Channel, OSRelease
from fleetwide.models.retries import Lineage
from fleetwide.models.task_states import EndReason, TaskState

Item = TypeVar("Item")


class Page(Record, Generic[Item]):
    """One page of a listing; ``next`` is the cursor of the page that follows, if there is one."""

    items: list[Item]
    next: str | None = None


class Problem(Record):
    """An error as RFC 9457 problem+json, with Fleetwide's stable code."""

    type: str = Field(examples=["urn:fleetwide:problem:InvalidInput"])
    title: str = Field(examples=["The input is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(
        examples=["container.resources.cpu: must be at least 0.001 (given: -1)"],
    )
    code: str = Field(examples=["InvalidInput"])
    hint: str | None = None
    """What to type next, ready to paste."""
    fields: list[FieldFault] = []
    instance: str = ""
    """The request's path."""
    request_id: str = ""


class OperationStatus(StrEnum):
    """Where a workflow run stands, in Temporal's terms."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timedOut"


class Operation(Record):
    """A workflow run that was started for somebody."""

    id: str
    """The thing's own id: a task id, a job id, ``name/version`` or a bake key."""
    workflow_id: str
    run_id: str
    workflow_type: str
    status: OperationStatus
    summary: str = ""
    progress: str = ""
    """What its running step last told, for example ``installing packages, 40 %``."""
    started_at: Timestamp | None = None
    closed_at: Timestamp | None = None
    result: Any = None
    error: Problem | None = None
    links: dict[str, str] = {}


class ReleaseDocument(OSRelease):
    """An OS release with where to look further."""

    run_id: str
    links: dict[str, str] = {}


class ChannelDocument(Record):
    """A named pointer to one release of a line."""

    name: str
    channel: Channel
    version: str
    revision: int = 1
    """Counts the moves of the channel."""
    updated_at: Timestamp


class ImageDocument(BakedImage):
    """A baked image with where to look further."""

    owner: str = ""
    links: dict[str, str] = {}


class BakeDocument(Record):
    """One run of a bake: where it stands, its stages, how it ended."""

    bake_key: str
    request_key: str
    workflow_id: str
    run_id: str
    name: str
    version: str
    base: str
    owner: str = ""
    state: BakeState
    stages: list[StageTime] = []
    failure: BakeFailure | None = None
    created_at: Timestamp
    finished_at: Timestamp | None = None
    links: dict[str, str] = {}


class BakeLogChunk(Record):
    """Data of a ``log`` event of a bake."""

    text: str


class BakeLogEnd(Record):
    """Data of the ``end`` event of a bake's log."""

    state: BakeState
    message: str = ""


class InputChange(Record):
    """One input of a bake key that differs between two bakes."""

    input: str
    before: Any = None
    after: Any = None


class WhyDocument(Record):
    """Why an application was baked again: what differs from the bake before."""

    bake_key: str
    before: str | None = None
    """The bake that it is compared with; None for the application's first."""
    changes: list[InputChange] = []


class ArtifactDocument(Record):
    """An uploaded deployment artifact."""

    sha256: str
    filename: str
    size: int
    """Bytes."""


class ExtraDocument(Record):
    """An extra container of an attempt: where it stands, and how it ended."""

    name: str
    state: TaskState
    health: HealthReport | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    message: str = ""
    last_lines: list[str] = []


class AttemptDocument(Record):
    """One attempt of a task or an array child, with the evidence of its end."""

    index: int = 0
    attempt: int
    state: TaskState
    reason: EndReason | None = None
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    host_id: str | None = None
    devices: list[str] = []
    """The devices that it got of its host."""
    ports: dict[str, int] = {}
    """The ports that it got of its host, by name."""
    waiting: Waiting | None = None
    leaves_at: Timestamp | None = None
    """Its place was lent and is taken back: then it is asked to end."""
    lineage: Lineage = Lineage()
    last_lines: list[str] = []
    health: HealthReport | None = None
    """What the checks of the main container tell; None where it has none."""
    extra_containers: list[ExtraDocument] = []
    accepted_at: Timestamp
    launched_at: Timestamp | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class TaskDocument(Record):
    """A container task: what was asked for, where it stands, how it ended."""

    id: str
    workflow_id: str
    run_id: str
    app: str
    owner: str = ""
    labels: dict[str, str] = {}
    capacity_group: str = DEFAULT_GROUP
    priority: int = DEFAULT_PRIORITY
    service_id: str | None = None
    """The service that it is a copy of now, or was in the end."""
    state: TaskState
    image: str = ""
    """Pinned by digest once the task is accepted."""
    host_id: str | None = None
    reason: EndReason | None = None
    message: str = ""
    exit_code: int | None = None
    waiting: Waiting | None = None
    attempts: list[AttemptDocument] = []
    error: Problem | None = None
    """Why the task ended before it could be booked."""
    created_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    links: dict[str, str] = {}


class JobDocument(Record):
    """A batch job: the array as a whole."""

    id: str
    workflow_id: str
    run_id: str
    app: str
    owner: str = ""
    queue: str = ""
    labels: dict[str, str] = {}
    capacity_group: str = DEFAULT_GROUP
    priority: int = DEFAULT_PRIORITY
    size: int = 1
    state: str
    image: str = ""
    counts: dict[ChildState, int] = {}
    attempts: int = 0
    waiting: Waiting | None = None
    error: Problem | None = None
    created_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    links: dict[str, str] = {}


class HostDocument(Record):
    """A container host, what it offers and what of it is taken."""

    host_id: str
    state: str
    wanted: str = ""
    """Its state while it answers."""
    by: str = ""
    """Who wants that."""
    reason: str = ""
    """Why; empty for a host that nobody has decided about."""
    silent_since: Timestamp | None = None
    pressure: str = ""
    """Why it gets no new work for now, though its state allows it."""
    tasks: int = 0
    """How many attempts are on it."""
    held_back: dict[RefusalCode, int] = {}
    """Of those that are to leave it: how many wait for what; for one host only."""
    cpu: float
    cpu_reserved: float
    memory: int
    """Bytes."""
    memory_reserved: int
    disk: int | None = None
    """Bytes; None where nobody knows, and it is not counted."""
    disk_reserved: int = 0
    network: int | None = None
    """Mbit/s; None where nobody knows, and it is not counted."""
    network_reserved: int = 0
    gpus: list[str] = []
    """Devices by id."""
    gpus_reserved: list[str] = []
    ports: str = ""
    """From these ports the platform chooses."""
    ports_reserved: list[int] = []
    faults: int = 0
    """Attempts that it failed in the last hour; work goes elsewhere then, where it can."""
    images: list[str] = []
    """Marks (first digits of the digest) of the images that it holds; for one host only."""
    machine: HostFacts | None = None
    """What the machine has before anything is kept back; for one host only."""
    labels: dict[str, str] = {}
    docker_version: str = ""
    registered_at: Timestamp
    seen_at: Timestamp
    links: dict[str, str] = {}


class EventDocument(Record):
    """Something that happened; ``seq`` is the cursor."""

    seq: int
    at: Timestamp
    product: str
    subject: str
    kind: str
    message: str
    data: dict[str, Any] = {}


class TaskChange(Record):
    """Data of a ``change`` event of the task stream: what happened to one task."""

    seq: int
    """The cursor behind it."""
    at: Timestamp
    task_id: str
    workflow_id: str
    kind: str
    """``state`` for an attempt's change; ``accepted``, ``waiting``, ``finished`` for the task's."""
    message: str
    attempt: int | None = None
    state: TaskState | None = None
    reason: str | None = None
    """Of the change; ``filledIn`` for a state that nobody told of at the time."""
    host_id: str | None = None
    exit_code: int | None = None


class StreamCursor(Record):
    """Data of ``snapshotEnd`` and ``keepAlive``: all up to this number has been told."""

    seq: int


class Health(Record):
    """Whether the API's process and what it stands on answer."""

    status: str
    version: str
    checks: dict[str, str]


class LogChunk(Record):
    """A piece of a log stream."""

    text: str
    attempt: int = 1


class LogEnd(Record):
    """The end of a log stream: the attempt's own end."""

    state: str
    reason: str | None = None
    exit_code: int | None = None
    message: str = ""

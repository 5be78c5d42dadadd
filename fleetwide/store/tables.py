"""The SQL tables: the inventory and its history. Rows are written by activities and the scheduler.

Times are UTC with their zone kept. Rows that belong to a lifecycle carry the workflow's id and
run id, so that a row can always be traced to the history that wrote it.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    FetchedValue,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from fleetwide.models.capacity_groups import DEFAULT_GROUP, DEFAULT_PRIORITY
from fleetwide.models.hosts import DEFAULT_FIRST_PORT, DEFAULT_LAST_PORT

# SQLite only gives autoincrement to a column declared INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A timestamp that is UTC on the way in and aware on the way out, also on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime reached the database")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _time(**options: Any) -> Any:
    return Field(sa_type=UtcDateTime, **options)


def _json(kind: Any = JSON, **options: Any) -> Any:
    return Field(sa_type=kind, **options)


class OSReleaseRow(SQLModel, table=True):
    """One operating system release; ``release`` is the models' ``OSRelease`` without channels."""

    __tablename__: ClassVar[Any] = "os_release"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: int | None = Field(default=None, primary_key=True)
    name: str
    version: str
    workflow_id: str = Field(index=True)
    run_id: str
    state: str
    image_digest: str | None = Field(default=None, index=True)
    build_key: str = Field(default="", index=True)
    """What decides about the bytes; the same key is not built twice."""
    spec: dict[str, Any] = _json()
    release: dict[str, Any] = _json()
    created_at: datetime = _time()
    promoted_at: datetime | None = _time(default=None)


class ChannelRow(SQLModel, table=True):
    """A channel of a line points at one release; ``revision`` guards compare-and-set."""

    __tablename__: ClassVar[Any] = "os_channel"

    name: str = Field(primary_key=True)
    channel: str = Field(primary_key=True)
    version: str
    revision: int = 1
    updated_at: datetime = _time()


class ChannelMoveRow(SQLModel, table=True):
    """Append-only: who moved which channel where, when and why."""

    __tablename__: ClassVar[Any] = "os_channel_move"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    name: str = Field(index=True)
    channel: str
    version: str | None = None
    """None when the channel was taken away."""
    before: str | None = None
    revision: int
    by: str = ""
    reason: str = ""
    at: datetime = _time()


class ArtifactRow(SQLModel, table=True):
    """An uploaded deployment artifact; its bytes lie in the object store under its digest."""

    __tablename__: ClassVar[Any] = "artifact"

    sha256: str = Field(primary_key=True)
    filename: str
    size: int = Field(sa_type=BigInteger)
    uploaded_at: datetime = _time()


class RecipeRow(SQLModel, table=True):
    """One version of a recipe; ``spec`` is the models' ``RecipeSpec``."""

    __tablename__: ClassVar[Any] = "recipe"

    name: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    digest: str
    spec: dict[str, Any] = _json()
    created_at: datetime = _time()


class PinRow(SQLModel, table=True):
    """What the dependencies of a request were resolved to; the first answer stays."""

    __tablename__: ClassVar[Any] = "bake_pin"

    request_key: str = Field(primary_key=True)
    dependencies: list[dict[str, Any]] = _json()
    resolved_at: datetime = _time()


class BakeRow(SQLModel, table=True):
    """One run of a bake, from its request to its end."""

    __tablename__: ClassVar[Any] = "bake"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    workflow_id: str = Field(index=True)
    run_id: str = Field(index=True, unique=True)
    request_key: str = Field(index=True)
    bake_key: str = Field(index=True)
    name: str = Field(index=True)
    version: str
    owner: str = ""
    state: str = Field(index=True)
    inputs: dict[str, Any] = _json()
    """Every input of the bake key, to tell why something was baked again."""
    spec: dict[str, Any] = _json()
    """The request as it was made."""
    stages: list[dict[str, Any]] = _json(default_factory=list)
    failure: dict[str, Any] | None = _json(default=None)
    created_at: datetime = _time()
    finished_at: datetime | None = _time(default=None)


class BakeTokenRow(SQLModel, table=True):
    """A client's token for one request: the same token never stands for another one."""

    __tablename__: ClassVar[Any] = "bake_token"

    token: str = Field(primary_key=True)
    """SHA-256 of what the client sent."""
    fingerprint: str
    bake_id: str
    created_at: datetime = _time()


class ImageRow(SQLModel, table=True):
    """A baked image; ``image`` is the models' ``BakedImage``."""

    __tablename__: ClassVar[Any] = "image"

    bake_key: str = Field(primary_key=True)
    content_key: str = Field(default="", index=True)
    workflow_id: str = Field(index=True)
    name: str = Field(index=True)
    version: str
    repository: str
    digest: str = Field(index=True)
    """Of the container image; empty for one that is only a VM."""
    base_name: str
    base_version: str
    base_digest: str = Field(index=True)
    owner: str = ""
    image: dict[str, Any] = _json()
    spec: dict[str, Any] = _json(default_factory=dict)
    """The request, for a rebuild onto another base."""
    created_at: datetime = _time()


class ImageDigestRow(SQLModel, table=True):
    """Every manifest that an image has had: new metadata make a new one over the same layers."""

    __tablename__: ClassVar[Any] = "image_digest"

    digest: str = Field(primary_key=True)
    bake_key: str = Field(index=True)
    created_at: datetime = _time()


class HostRow(SQLModel, table=True):
    """A container host and what it offers."""

    __tablename__: ClassVar[Any] = "host"

    host_id: str = Field(primary_key=True)
    state: str = Field(index=True)
    cpu_milli: int
    memory_bytes: int = Field(sa_type=BigInteger)
    disk_bytes: int | None = Field(default=None, sa_type=BigInteger)
    """None where nobody knows: then it is not counted."""
    network_mbps: int | None = None
    """As for the disk."""
    gpus: list[str] = _json(default_factory=list)
    """Its devices by id; the engine numbers them by their places here."""
    first_port: int = DEFAULT_FIRST_PORT
    last_port: int = DEFAULT_LAST_PORT
    machine: dict[str, Any] = _json(default_factory=dict)
    """``HostFacts``: what it really has, before anything is kept back."""
    labels: dict[str, str] = _json(default_factory=dict)
    docker_version: str = ""
    pressure: str = ""
    """Why it gets no new work for now, though its state allows it; empty for nothing."""
    version: int = 1
    """Raised by every placement and release, so that two schedulers cannot both fill the host."""
    registered_at: datetime = _time()
    seen_at: datetime = _time()


class JobRow(SQLModel, table=True):
    """A container task or a batch job: one row per workflow run."""

    __tablename__: ClassVar[Any] = "job"
    __table_args__ = (
        UniqueConstraint("workflow_id", "run_id"),
        Index("ix_job_service", "service_id", "finished_at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    workflow_id: str = Field(index=True)
    run_id: str
    kind: str = Field(index=True)
    """``task`` or ``batch``."""
    app: str = Field(index=True)
    owner: str = ""
    queue: str = ""
    size: int = 1
    capacity_group: str = DEFAULT_GROUP
    priority: int = DEFAULT_PRIORITY
    state: str = Field(index=True)
    image: str = ""
    """Pinned by digest."""
    extra_images: dict[str, str] | None = _json(
        JSON(none_as_null=True), default=None, nullable=True
    )
    """The same for each extra container, by its name; rows from before may have JSON's null."""
    spec: dict[str, Any] = _json()
    asks: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """JSON of what placement reads of ``spec``, so that it need not be taken out of it each time;
    empty in rows from before."""
    standing: dict[str, Any] | None = _json(JSON(none_as_null=True), default=None, nullable=True)
    """The models' ``JobStanding`` of a batch job; None while nobody asked anything of it."""
    result: dict[str, Any] | None = _json(default=None, nullable=True)
    created_at: datetime = _time()
    finished_at: datetime | None = _time(default=None, index=True)
    pending_until: datetime | None = _time(default=None, nullable=True)
    """Until when a batch job may wait for its start, as its queue says."""
    service_id: str | None = None
    """The service that it is a copy of."""
    copy_index: int | None = None
    revision: int | None = None
    """Of the service, which the copy is made from."""


class JobLabelRow(SQLModel, table=True):
    """What somebody noted on a task or a batch job."""

    __tablename__: ClassVar[Any] = "job_label"
    __table_args__ = (Index("ix_job_label_value", "name", "value", "job_id"),)

    job_id: int = Field(primary_key=True, sa_type=BigId, foreign_key="job.id")
    name: str = Field(primary_key=True)
    value: str


class AttemptRow(SQLModel, table=True):
    """One attempt of one task or array child: its wait, its reservation, its end.

    While ``reserved`` is true all that the attempt asks for counts against its host.
    """

    __tablename__: ClassVar[Any] = "attempt"
    __table_args__ = (
        UniqueConstraint("job_id", "index", "attempt"),
        Index("ix_attempt_state_id", "state", "id"),
        Index("ix_attempt_host_reserved", "host_id", "reserved"),
        Index(
            "ix_attempt_preempt_at",
            "preempt_at",
            sqlite_where=text("preempt_at IS NOT NULL"),
            postgresql_where=text("preempt_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    job_id: int = Field(sa_type=BigId, index=True, foreign_key="job.id")
    index: int = 0
    attempt: int = 1
    state: str
    """Changed by ``attempt_states`` alone."""
    left_state: str | None = None
    """What a Disconnected one was before."""
    version: int = 1
    """Raised by every change of the state, which is compared with it."""
    lineage: dict[str, Any] = _json(default_factory=dict)
    """The models' ``Lineage``."""
    reason: str | None = None
    message: str = ""
    cpu_milli: int
    memory_bytes: int = Field(sa_type=BigInteger)
    disk_bytes: int = Field(default=0, sa_type=BigInteger)
    network_mbps: int = 0
    gpus: int = 0
    devices: list[str] = _json(default_factory=list)
    """The GPU devices that it got, by the ids of its host."""
    ports: dict[str, int] = _json(default_factory=dict)
    """The ports of its host that it got, by name."""
    host_labels: dict[str, str] = _json(default_factory=dict)
    avoid_hosts: list[str] = _json(default_factory=list)
    host_id: str | None = None
    reserved: bool = False
    waiter_id: int | None = Field(default=None, sa_type=BigId, index=True)
    """The waiter that is told when a host was found."""
    waiting: dict[str, Any] | None = _json(default=None, nullable=True)
    preempt_at: datetime | None = _time(default=None)
    """Its place was lent, and is taken back then; None for all others."""
    preempt_for: int | None = Field(default=None, sa_type=BigInteger)
    """The number of the attempt that needs its place."""
    health: dict[str, Any] | None = _json(default=None, nullable=True)
    """What the checks of its main container tell; beside its state."""
    extra_containers: list[dict[str, Any]] | None = _json(default=None, nullable=True)
    exit_code: int | None = None
    oom_killed: bool = False
    log_key: str | None = None
    result: dict[str, Any] | None = _json(default=None, nullable=True)
    accepted_at: datetime = _time()
    launched_at: datetime | None = _time(default=None)
    started_at: datetime | None = _time(default=None)
    finished_at: datetime | None = _time(default=None)


class WaiterRow(SQLModel, table=True):
    """An activity that waits for placements and is completed from outside, by the scheduler."""

    __tablename__: ClassVar[Any] = "waiter"
    __table_args__ = (UniqueConstraint("workflow_id", "run_id", "activity_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    job_id: int = Field(sa_type=BigId, index=True, foreign_key="job.id")
    workflow_id: str
    run_id: str
    activity_id: str
    done: bool = Field(default=False, index=True)
    told: str = ""
    """The waiting code that the workflow was last told."""
    created_at: datetime = _time()


class EventRow(SQLModel, table=True):
    """Append-only: ``seq`` is the cursor of every stream; ``events`` says in which order."""

    __tablename__: ClassVar[Any] = "event"
    __table_args__ = (Index("ix_event_order", "xid", "seq"),)

    seq: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    at: datetime = _time()
    product: str = Field(index=True)
    subject: str = Field(index=True)
    """Workflow id, or host id."""
    kind: str
    message: str
    data: dict[str, Any] = _json(default_factory=dict)
    xid: int | None = Field(
        default=None,
        sa_type=BigInteger,
        nullable=False,
        sa_column_kwargs={"server_default": FetchedValue()},
    )
    """Number of the transaction that wrote it, given by the database; 0 on SQLite."""

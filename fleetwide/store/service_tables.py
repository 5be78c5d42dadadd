"""Services, their versions, their copies, and what was done to them."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from fleetwide.store.tables import BigId, UtcDateTime

_LIVES = text("ended_at IS NULL")


class ServiceRow(SQLModel, table=True):
    """One service: what people want of it now, and how far its deploy is."""

    __tablename__: ClassVar[Any] = "service"

    service_id: str = Field(primary_key=True)
    workflow_id: str
    run_id: str
    """The first run of the workflow that it belongs to; the service outlives each run."""
    state: str = Field(index=True)
    """``Active``, ``Deleting`` or ``Deleted``."""
    version: int = 1
    """Raised by each change of what is wanted, except of ``desired`` alone."""
    revision: int = 1
    """The newest version of its spec."""
    app: str = Field(index=True)
    owner: str = ""
    labels: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    least: int = 0
    desired: int = 1
    most: int = 1
    enabled: bool = True
    disable_increase_desired: bool = False
    disable_decrease_desired: bool = False
    deploy: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """The models' ``DeployState``."""
    status: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """The models' ``ServiceStatus`` as of the last look."""
    ends: int = 0
    """How many copies have ended: the cursor of who counts them."""
    ends_seen: int = 0
    """Those that the deploy has counted already."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class ServiceRevisionRow(SQLModel, table=True):
    """Append-only: one version of a service's spec, and what became of it."""

    __tablename__: ClassVar[Any] = "service_revision"

    service_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    template: int
    """The revision whose copies need not be replaced for this one; mostly itself."""
    spec: dict[str, Any] = Field(sa_type=JSON)
    by: str = ""
    reason: str = ""
    at: datetime = Field(sa_type=UtcDateTime)
    verdict: str | None = None
    """``good`` once its copies were healthy, ``bad`` when it was given up."""
    verdict_reason: str = ""


class ServiceCopyRow(SQLModel, table=True):
    """One incarnation of one copy: written before its task starts, closed after it has ended."""

    __tablename__: ClassVar[Any] = "service_copy"
    __table_args__ = (
        UniqueConstraint("service_id", "index", "incarnation"),
        Index("ix_service_copy_live", "service_id", "ended_at"),
        Index(
            "ix_service_copy_live_task",
            "task_id",
            unique=True,
            sqlite_where=_LIVES,
            postgresql_where=_LIVES,
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    service_id: str
    index: int
    incarnation: int
    revision: int
    task_id: str = Field(index=True)
    """A task that was moved has a row in each service that it was of; one of them lives at most."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    begun: bool = False
    """Whether Temporal has its task."""
    leaving: dict[str, Any] | None = Field(
        default=None, sa_type=JSON(none_as_null=True), nullable=True
    )
    """The models' ``CopyMove``: it goes once another has taken its place."""
    stop: dict[str, Any] | None = Field(
        default=None, sa_type=JSON(none_as_null=True), nullable=True
    )
    """The models' ``CopyStop``: it is leaving its load balancers, or being stopped."""
    told: bool = False
    """Whether its task knows that it has to stop."""
    number: int | None = None
    """Its place among the ends of the service."""
    streak: int = 0
    """How many copies of the index have ended soon after their start, this one the last."""
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str | None = None
    message: str = ""
    host_id: str | None = None


class ServiceActivityRow(SQLModel, table=True):
    """Append-only: who or what changed a service, why, by which numbers, from what to what."""

    __tablename__: ClassVar[Any] = "service_activity"
    __table_args__ = (Index("ix_service_activity_service", "service_id", "id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    service_id: str
    at: datetime = Field(sa_type=UtcDateTime)
    kind: str
    by: str = ""
    reason: str = ""
    sentence: str
    numbers: dict[str, float] = Field(default_factory=dict, sa_type=JSON)
    before: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    after: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    change_id: str | None = Field(default=None, index=True)
    """The update that it was: one that is carried out again finds that it was done."""

"""Which copy of a service is registered where, and which ones were asked to leave."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from fleetwide.store.tables import UtcDateTime


class ServiceTargetRow(SQLModel, table=True):
    """One copy at one target; it says all that is needed to leave the target again."""

    __tablename__: ClassVar[Any] = "service_target"

    task_id: str = Field(primary_key=True)
    """``<service>.<index>.<incarnation>``."""
    target: str = Field(primary_key=True)
    """The models' ``Target.key``: provider and place."""
    service_id: str = Field(index=True)
    address: str
    port: int
    drain_seconds: float
    state: str = Field(index=True)
    """The models' ``TargetState``."""
    since: datetime = Field(sa_type=UtcDateTime)
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when no new request comes, of one that is draining."""
    tries: int = 0
    """In a row that failed."""
    error: str = ""
    """What the last try failed of."""


class ServiceReleaseRow(SQLModel, table=True):
    """A copy that is about to be stopped: it leaves all targets, and joins none."""

    __tablename__: ClassVar[Any] = "service_release"

    task_id: str = Field(primary_key=True)
    asked_at: datetime = Field(sa_type=UtcDateTime)

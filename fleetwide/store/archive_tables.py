"""Finished jobs that left the tables of those that run: a thin row to find each by."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger
from sqlmodel import Field, SQLModel

from fleetwide.store.tables import BigId, UtcDateTime


class ArchivedJobRow(SQLModel, table=True):
    """One finished job under the number that it had; ``row`` is its ``JobRow``."""

    __tablename__: ClassVar[Any] = "archived_job"

    id: int = Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False})
    workflow_id: str = Field(index=True)
    run_id: str
    kind: str
    app: str = Field(index=True)
    owner: str = ""
    image: str = ""
    labels: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    reason: str | None = None
    """Why its last attempt ended."""
    host_id: str | None = None
    """Where its last attempt was."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    archived_at: datetime = Field(sa_type=UtcDateTime, index=True)
    service_id: str | None = Field(default=None, index=True)
    """The service that it was a copy of in the end."""
    row: dict[str, Any] = Field(sa_type=JSON)


class ArchivedAttemptRow(SQLModel, table=True):
    """One attempt of an archived job; ``row`` is its ``AttemptRow``."""

    __tablename__: ClassVar[Any] = "archived_attempt"

    job_id: int = Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False})
    index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    row: dict[str, Any] = Field(sa_type=JSON)


class EventHorizonRow(SQLModel, table=True):
    """Up to which event, in the order of streams, old ones were deleted."""

    __tablename__: ClassVar[Any] = "event_horizon"

    name: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    xid: int = Field(sa_type=BigInteger)
    highest: int = Field(sa_type=BigInteger)
    """The highest number up to there: on PostgreSQL a later event may have a lower one."""
    pruned_at: datetime = Field(sa_type=UtcDateTime)

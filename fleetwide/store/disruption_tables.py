"""What the gate keeps: what was let go, what is to leave, and what the platform moves at all."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import JSON, Field, SQLModel

from fleetwide.store.tables import BigId, UtcDateTime


class DisruptionRow(SQLModel, table=True):
    """An attempt that was let go, and what that took of its job's budget."""

    __tablename__: ClassVar[Any] = "disruption"
    __table_args__ = (Index("ix_disruption_budget", "budget_key", "granted_at"),)

    attempt_id: int = Field(
        primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False}
    )
    budget_key: str
    """The service, or the job's workflow id."""
    cause: str
    by: str
    reason: str
    forced: bool = False
    granted_at: datetime = Field(sa_type=UtcDateTime)
    asked_at: datetime = Field(sa_type=UtcDateTime, index=True)
    """When it was asked for last."""


class RelocationRow(SQLModel, table=True):
    """A live attempt that somebody wants away: its plan, published ahead."""

    __tablename__: ClassVar[Any] = "relocation"

    attempt_id: int = Field(
        primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False}
    )
    budget_key: str
    host_id: str = Field(index=True)
    cause: str
    by: str
    reason: str
    since: datetime = Field(sa_type=UtcDateTime)
    """Its owner was told then."""
    asked_at: datetime = Field(sa_type=UtcDateTime, index=True)
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """None where no time can be told."""
    refusal: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """The models' ``Refusal``; None once it was let go."""


class DisruptionQuotaRow(SQLModel, table=True):
    """The one row that who asks the gate locks first: tokens for all jobs together."""

    __tablename__: ClassVar[Any] = "disruption_quota"

    name: str = Field(primary_key=True)
    tokens: float
    at: datetime = Field(sa_type=UtcDateTime)

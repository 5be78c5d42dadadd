"""Capacity groups: what each may count on, and who decided so."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import JSON, Field, SQLModel

from fleetwide.store.tables import UtcDateTime


class CapacityGroupRow(SQLModel, table=True):
    """One group as it stands; every change of it is an event of ``capacity-group/<name>``."""

    __tablename__: ClassVar[Any] = "capacity_group"

    name: str = Field(primary_key=True)
    tier: str
    guarantee: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """The models' ``GroupAmounts``, those that are named alone."""
    cap: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    weight: float = 1.0
    owner: str = ""
    revision: int = 1
    """Raised by every change, which is compared with it."""
    by: str = ""
    reason: str = ""
    """Who made the last change, and why."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)

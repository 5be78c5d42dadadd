"""How hosts stand beside what they offer, and the valve on what is given up as lost."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import JSON, Field, SQLModel

from fleetwide.models.hosts import HostState
from fleetwide.store.tables import UtcDateTime


class HostStandingRow(SQLModel, table=True):
    """What people want of a host, and since when it is silent. ``host.state`` follows from it."""

    __tablename__: ClassVar[Any] = "host_standing"

    host_id: str = Field(primary_key=True)
    wanted: str = HostState.ACTIVE
    """Its state while it answers."""
    by: str = ""
    reason: str = ""
    changed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    silent_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """None while it answers."""
    gone_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when its machine is surely off; None where nobody said so."""


class LostValveRow(SQLModel, table=True):
    """The one valve of the fleet: whether decisions that something is lost are held back."""

    __tablename__: ClassVar[Any] = "lost_valve"

    name: str = Field(primary_key=True)
    frozen: bool = False
    silent: list[str] = Field(default_factory=list, sa_type=JSON)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Hosts that fell silent before this are not counted any more: an operator said so."""
    released_by: str = ""
    released_because: str = ""

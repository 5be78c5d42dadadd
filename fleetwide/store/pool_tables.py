"""Host pools and their machines."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import JSON, Field, SQLModel

from fleetwide.store.tables import UtcDateTime


class HostPoolRow(SQLModel, table=True):
    """One pool, as its workflow last said it; ``spec`` has the size that is wanted now."""

    __tablename__: ClassVar[Any] = "host_pool"

    name: str = Field(primary_key=True)
    workflow_id: str
    run_id: str
    state: str
    """``Active``, ``Deleting`` or ``Deleted``."""
    spec: dict[str, Any] = Field(sa_type=JSON)
    image: str = ""
    """What new machines are started from."""
    offers: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    """What an empty machine of each type would offer; none while the pool may not grow."""
    message: str = ""
    """What was done last, or what keeps it from being done."""
    quiet_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when no work has waited for a host."""
    failures: int = 0
    """Machines in a row that never joined the fleet."""
    failed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    looked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its workflow last looked after it, to within a minute."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class PoolMachineRow(SQLModel, table=True):
    """One machine of a pool, from its launch to its end; the host has the same id."""

    __tablename__: ClassVar[Any] = "pool_machine"

    machine_id: str = Field(primary_key=True)
    pool: str = Field(index=True)
    type: str
    zone: str = ""
    image: str = ""
    draining: bool = False
    hurried: bool = False
    """Its drain is forced after some minutes, not after days."""
    rotates: str = ""
    """Why its pool's rotation is to replace it, or did; empty where it does not."""
    launched_at: datetime = Field(sa_type=UtcDateTime)
    joined_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    end: str | None = None

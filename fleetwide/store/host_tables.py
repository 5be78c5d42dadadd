"""What is known of hosts beside their own rows: images they hold, faults of theirs."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from fleetwide.store.tables import BigId, UtcDateTime


class HostImageRow(SQLModel, table=True):
    """An image that lies on a host, by its mark (``image_mark``)."""

    __tablename__: ClassVar[Any] = "host_image"

    host_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True, index=True)


class HostFaultRow(SQLModel, table=True):
    """An attempt that a host failed, or lost."""

    __tablename__: ClassVar[Any] = "host_fault"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    host_id: str
    at: datetime = Field(sa_type=UtcDateTime, index=True)

"""Queues of batch, who changed them, and who asks for more capacity."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import JSON, Field, SQLModel

from fleetwide.store.tables import BigId, UtcDateTime


class QueueRow(SQLModel, table=True):
    """One queue as it stands, by its short path."""

    __tablename__: ClassVar[Any] = "queue"

    path: str = Field(primary_key=True)
    spec: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """The models' ``QueueSpec``, without its defaults."""
    revision: int = 1
    """Raised by every change, which is compared with it."""
    by: str = ""
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class QueueChangeRow(SQLModel, table=True):
    """One change of one queue; nothing of it is ever changed."""

    __tablename__: ClassVar[Any] = "queue_change"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    change_set: str = Field(index=True)
    """The same for all that changed together; of a capacity request, its id and the step."""
    path: str = Field(index=True)
    kind: str
    revision: int
    by: str = ""
    reason: str = ""
    at: datetime = Field(sa_type=UtcDateTime)
    before: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    after: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    moved_to: str | None = None
    """Where the jobs of a removed queue went."""


class CapacityRequestRow(SQLModel, table=True):
    """One request for more capacity, as its workflow last told."""

    __tablename__: ClassVar[Any] = "capacity_request"

    id: str = Field(primary_key=True)
    run_id: str
    queue: str = Field(index=True)
    state: str = Field(index=True)
    version: int
    """Raised by the workflow at each step: what is older is dropped."""
    spec: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    status: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    """The models' ``CapacityRequestStatus``."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)

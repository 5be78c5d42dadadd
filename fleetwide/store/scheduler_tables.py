"""The SQL tables of the scheduler itself: who may act, and what it has to look at again."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from fleetwide.store.tables import BigId


class SchedulerLeaseRow(SQLModel, table=True):
    """Who may place work: the one whose ``token`` stands here, until ``expires_ms``."""

    __tablename__: ClassVar[Any] = "scheduler_lease"

    name: str = Field(primary_key=True)
    holder: str
    """Host and process id, for people."""
    token: int = Field(sa_type=BigInteger)
    """Raised by each change of hands; what an earlier holder still wants to write is refused."""
    taken_ms: int = Field(sa_type=BigInteger)
    """By the database's clock, in milliseconds since 1970, as the next one."""
    expires_ms: int = Field(sa_type=BigInteger)


class FreedHostRow(SQLModel, table=True):
    """A host on which a reservation was given back since the scheduler looked at it.

    Written by a trigger on ``attempt``, whoever gives the reservation back; removed by the
    scheduler. A row of its own for each, so that nobody waits for anybody.
    """

    __tablename__: ClassVar[Any] = "freed_host"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    host_id: str

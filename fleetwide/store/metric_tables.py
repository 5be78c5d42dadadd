"""Samples of services' metrics, and what automatic scaling made of them last."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlmodel import JSON, Field, SQLModel

from fleetwide.store.tables import UtcDateTime


class MetricSampleRow(SQLModel, table=True):
    """One figure; its key is also the order in which samples are read and dropped."""

    __tablename__: ClassVar[Any] = "metric_sample"

    service_id: str = Field(primary_key=True)
    moment: int = Field(primary_key=True, sa_type=BigInteger)
    """Milliseconds since 1970: tens of thousands are read at a time."""
    name: str = Field(primary_key=True)
    task_id: str = Field(primary_key=True)
    """Empty where it is of the whole service."""
    source: str = Field(primary_key=True)
    value: float


class MetricMinuteRow(SQLModel, table=True):
    """What older samples of a service were made into: one row for each metric and minute."""

    __tablename__: ClassVar[Any] = "metric_minute"

    service_id: str = Field(primary_key=True)
    moment: int = Field(primary_key=True, sa_type=BigInteger)
    """The minute's begin, in milliseconds since 1970."""
    name: str = Field(primary_key=True)
    of_copies: bool = Field(primary_key=True)
    together: float
    samples: int
    total: float
    least: float
    most: float


class ServiceScalingRow(SQLModel, table=True):
    """What was decided last for a service that has policies."""

    __tablename__: ClassVar[Any] = "service_scaling"

    service_id: str = Field(primary_key=True)
    desired: int
    """As it was seen last, to notice what people change."""
    code: str | None = None
    sentence: str
    numbers: dict[str, float] = Field(default_factory=dict, sa_type=JSON)
    policies: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    """The models' ``PolicyVerdict``."""
    last_actions: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    """The models' ``LastAction``: of each policy, and of people, the last growth and shrinking."""
    decided_at: datetime = Field(sa_type=UtcDateTime)

"""Batch jobs that wait for others."""

from typing import Any, ClassVar

from sqlmodel import Field, SQLModel


class JobWaitRow(SQLModel, table=True):
    """One job waits for another to end; gone once the waiting one was told of it."""

    __tablename__: ClassVar[Any] = "job_wait"

    workflow_id: str = Field(primary_key=True)
    on_id: str = Field(primary_key=True, index=True)
    """The workflow id of the other."""

"""Requests for capacity: somebody asks for more of a queue, for good or for a while."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Record, Spec, Timestamp, Waiting
from fleetwide.models.capacity_groups import GroupAmounts
from fleetwide.models.queues import QueuePath
from fleetwide.models.texts import Line, Prose

Person = Annotated[Line, Field(min_length=1, max_length=200)]
Reason = Annotated[Prose, Field(min_length=1, max_length=500)]


class RequestState(StrEnum):
    """Where a request stands."""

    PENDING = "Pending"
    """Nobody has decided yet."""
    APPROVED = "Approved"
    """Decided, and being applied."""
    REJECTED = "Rejected"
    WITHDRAWN = "Withdrawn"
    """By who asked; what had been applied is given back."""
    APPLIED = "Applied"
    """The queue has it."""
    EXPIRED = "Expired"
    """Its time is over: given back, or never decided."""


class CapacityRequestSpec(Spec):
    """Input of the ``CapacityRequest`` workflow: so much more for a queue."""

    queue: QueuePath
    guarantee: GroupAmounts = GroupAmounts()
    """So much more than it is guaranteed when the request is applied."""
    limit: GroupAmounts = GroupAmounts()
    """So much more than its limit; a resource without a limit needs none."""
    from_queue: QueuePath | None = None
    """The queue that gives it up; unset, it comes from what the queue above has not promised."""
    until: Timestamp | None = None
    """When it is given back by itself; unset, it stays."""
    by: Person
    """Who asks. Somebody else has to approve it."""
    reason: Reason

    @model_validator(mode="after")
    def _something_is_asked_for(self) -> Self:
        asked = (self.guarantee, self.limit)
        amounts = [getattr(one, name) for one in asked for name in GroupAmounts.model_fields]
        if not any(amounts):
            raise ValueError("guarantee: nothing is asked for, neither of guarantee nor of limit")
        if self.from_queue == self.queue:
            raise ValueError("from_queue: must be another queue")
        return self


class CapacityDecision(Spec):
    """Who approves, rejects or withdraws a request, and why."""

    by: Person
    reason: Reason


class CapacityRequestStatus(Record):
    """Answer of the ``status`` query, and result, of a ``CapacityRequest``."""

    request_id: str
    state: RequestState = RequestState.PENDING
    decided_by: str = ""
    """Who approved, rejected or withdrew it last."""
    decision: str = ""
    """The reason that was given."""
    decided_at: datetime | None = None
    applied_at: datetime | None = None
    ended_at: datetime | None = None
    """When nothing could change any more."""
    waiting: Waiting | None = None


class CapacityStep(Record):
    """Apply a request to its queues, or give back what it took."""

    request_id: str
    run_id: str
    """The workflow's first run: with the id it names what is done once."""
    spec: CapacityRequestSpec
    by: str
    reason: str
    give_back: bool = False


class CapacityOutcome(Record):
    """Whether the queues are as asked for; else what they refuse."""

    applied: bool
    refusal: str = ""


class CapacityNote(Record):
    """What the row of a request shall say."""

    request_id: str
    run_id: str
    version: int
    """Raised at each step: an older one changes nothing."""
    spec: CapacityRequestSpec
    status: CapacityRequestStatus


class CapacityRequestDocument(Record):
    """A request as the API shows it."""

    id: str
    state: RequestState
    spec: CapacityRequestSpec
    decided_by: str = ""
    decision: str = ""
    decided_at: datetime | None = None
    applied_at: datetime | None = None
    ended_at: datetime | None = None
    waiting: Waiting | None = None
    created_at: datetime
    updated_at: datetime
    links: dict[str, str] = {}

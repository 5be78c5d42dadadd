"""Evictions: the platform takes a host away from an attempt, which is tried again elsewhere."""

from datetime import datetime

from pydantic import Field, field_validator

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.containers import AttemptKey
from fleetwide.models.task_states import END_TRAITS, EndReason, RetryBudget
from fleetwide.models.texts import Prose

EVICTIONS = tuple(
    reason
    for reason, traits in END_TRAITS.items()
    if traits.budget in (RetryBudget.EVICTION, RetryBudget.PREEMPTION)
)
GIVEN_UP = (*EVICTIONS, EndReason.LOST)
"""What an attempt may be told: it is lost when its host's machine is surely off."""


class Eviction(Spec):
    """Argument of the ``evict`` signal of ``ContainerTask`` and ``BatchJob``.

    It is ignored when the attempt has ended, or runs elsewhere than on ``host_id``.
    """

    reason: EndReason = EndReason.EVICTED
    """One of ``GIVEN_UP``."""
    message: Prose = Field(min_length=1, max_length=500)
    """Kept with the attempt; shown to everyone who looks at it."""
    host_id: str | None = None
    """Only an attempt on this host is meant; unset, wherever it runs."""
    index: int | None = Field(default=None, ge=0)
    """The child of a batch job; unset, every child that fits."""
    attempt: int | None = Field(default=None, ge=1)
    """This attempt and no later one; unset, the one that runs."""
    not_after: Timestamp | None = None
    """Whoever hears it later leaves it: by then the gate may have let others go instead."""

    @field_validator("reason")
    @classmethod
    def _reason_is_an_eviction(cls, value: EndReason) -> EndReason:
        if value not in GIVEN_UP:
            raise ValueError(f"{value} is none of {', '.join(GIVEN_UP)}")
        return value

    def is_late(self, now: datetime) -> bool:
        """Whether it was heard too late."""
        return self.not_after is not None and now > self.not_after

    def means(self, index: int, host_id: str, attempt: int) -> bool:
        """Whether this attempt of the child of this index, on this host, shall go."""
        here = self.index in (None, index) and self.host_id in (None, host_id)
        return here and self.attempt in (None, attempt)


class AttemptKill(Record):
    """An attempt that is being stopped, and the first reason why."""

    key: AttemptKey
    reason: EndReason
    message: str = ""

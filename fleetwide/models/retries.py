"""How often, and when, a failed attempt is tried again."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from fleetwide.models.base import Record, Spec
from fleetwide.models.task_states import RETRY_BUDGET, EndReason, RetryBudget


class RetryShape(StrEnum):
    """How the waits between attempts grow."""

    IMMEDIATE = "immediate"
    DELAYED = "delayed"
    EXPONENTIAL = "exponential"


ExitCodes = Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=255)]


class RetryPolicy(Spec):
    """How often a failed attempt is tried again; the platform's own faults are not counted."""

    retries: Annotated[int, Field(ge=0, le=100)] = 0
    """Further attempts after the first one failed."""
    shape: RetryShape = RetryShape.EXPONENTIAL
    """``immediate`` waits for nothing, ``delayed`` always as long, ``exponential`` doubles."""
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Wait before the first retry."""
    max_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """The longest wait between two attempts."""
    on_exit_codes: ExitCodes | None = None
    """Only a process that ends with one of these is tried again; unset, with any."""
    not_on_exit_codes: ExitCodes = []
    """A process that ends with one of these is not tried again."""
    on_reasons: list[EndReason] | None = None
    """Only attempts that end for one of these are tried again; unset, all that retries pay for."""
    on_runtime_limit: bool = False
    """Whether an attempt that ran into its runtime limit is tried again."""

    @field_validator("on_reasons")
    @classmethod
    def _reasons_can_be_retried(cls, value: list[EndReason] | None) -> list[EndReason] | None:
        allowed = [one for one, budget in RETRY_BUDGET.items() if budget is RetryBudget.USER]
        for reason in value or []:
            if reason not in allowed:
                raise ValueError(f"{reason} is none of {', '.join(allowed)}")
        return value


class Spent(Record):
    """Further attempts so far, by who paid for them."""

    user: int = 0
    system: int = 0
    """For the platform's own faults."""
    eviction: int = 0
    preemption: int = 0
    system_in_a_row: int = 0
    """Of ``system``, those since an attempt last ran for long: the back-off goes by these."""


class Lineage(Record):
    """Where an attempt comes from: what it follows, what was spent, what was waited."""

    original: int = 1
    """The first attempt of the task or child."""
    follows: int | None = None
    """The attempt whose end made this one necessary."""
    spent: Spent = Spent()
    """This attempt included."""
    delay_seconds: float = 0.0
    """The wait that was chosen before it."""

"""Disruption budgets: how much of a job the platform may move at a time, how fast, and when.

What is not planned (a crash, a host that vanishes) takes nothing of a budget, but counts: copies
that are gone are not healthy.
"""

from enum import StrEnum
from functools import cache
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from fleetwide.models.base import Spec
from fleetwide.models.texts import Line, Prose

MAX_RELOCATION_SECONDS = 30 * 86_400
MAX_INTERVAL_SECONDS = 3600
Percent = Annotated[float, Field(ge=0, le=100)]
Interval = Annotated[float, Field(ge=0.001, le=MAX_INTERVAL_SECONDS)]
Count = Annotated[int, Field(ge=0, le=100_000)]


def _given(one: Spec) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) is not None]


class SelfManaged(Spec):
    """The owner is told, and has a time to move the task; then the platform does."""

    relocation_seconds: Annotated[float, Field(ge=0, le=MAX_RELOCATION_SECONDS)]
    """0 seconds to 30 days; 0 lets the platform move it at once."""


class AvailabilityPercentage(Spec):
    """So much of what is desired stays healthy."""

    percent: Percent
    """Rounded up to whole copies; one may always go when all are healthy."""


class UnhealthyLimit(Spec):
    """At most so many of what is desired are missing or not healthy."""

    copies: Count
    """0 counts as 1."""


class RelocationLimit(Spec):
    """A task, or a child of a batch job, is moved so often and never again."""

    times: Annotated[int, Field(ge=0, le=1000)]


class DisruptionPolicy(Spec):
    """What the platform may move at all: exactly one of these."""

    self_managed: SelfManaged | None = None
    availability_percentage: AvailabilityPercentage | None = None
    unhealthy_limit: UnhealthyLimit | None = None
    relocation_limit: RelocationLimit | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = _given(self)
        if len(given) != 1:
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"needs exactly one of {names}, not {len(given)}")
        return self


class CountPerInterval(Spec):
    """So many in a time."""

    count: Count
    """0: none is ever moved, unless by force."""
    seconds: Interval


class PercentagePerInterval(Spec):
    """Such a share of what is desired in a time."""

    percent: Percent
    """Rounded down, but at least one; 0: none is ever moved, unless by force."""
    seconds: Interval


class PercentagePerHour(Spec):
    """Such a share of what is desired in an hour."""

    percent: Percent
    """Rounded down, but at least one; 0: none is ever moved, unless by force."""


class DisruptionRate(Spec):
    """How fast: at most one of these; none of them is as fast as the policy lets it."""

    percentage_per_hour: PercentagePerHour | None = None
    count_per_interval: CountPerInterval | None = None
    percentage_per_interval: PercentagePerInterval | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = _given(self)
        if len(given) > 1:
            raise ValueError(f"needs one rate, not {' and '.join(given)}")
        return self


class Day(StrEnum):
    """The days of the week, in order."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


@cache
def time_zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name.

    Raises ``ValueError``.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        raise ValueError(
            f"{name!r} is not the name of a time zone, such as Europe/Berlin or UTC"
        ) from None


def _known_zone(name: str) -> str:
    time_zone(name)
    return name


class DisruptionWindow(Spec):
    """Hours of some days, by the clock on the wall of a place."""

    days: Annotated[list[Day], Field(max_length=7)] = list(Day)
    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    to_hour: Annotated[int, Field(ge=1, le=24)] = 24
    """Not included: 8 to 16 ends when the clock shows 16:00."""
    zone: Annotated[Line, Field(max_length=64), AfterValidator(_known_zone)] = "UTC"

    @model_validator(mode="after")
    def _opens(self) -> Self:
        if not self.days:
            raise ValueError("days is empty: the window never opens; leave days out for every day")
        if self.from_hour >= self.to_hour:
            raise ValueError(
                f"from_hour {self.from_hour} is not before to_hour {self.to_hour}: the window "
                "never opens; for hours around midnight give two windows"
            )
        return self


class HealthProvider(StrEnum):
    """Who says that a running copy is healthy."""

    CONTAINER = "container"
    """Its health check; one without is healthy while it runs."""
    ALWAYS_HEALTHY = "alwaysHealthy"
    """Nobody: it is healthy while it runs."""


class DisruptionBudget(Spec):
    """What moving tasks for the platform's own reasons may cost their job."""

    policy: DisruptionPolicy
    rate: DisruptionRate = DisruptionRate()
    windows: Annotated[list[DisruptionWindow], Field(max_length=50)] = []
    """Tasks are moved in these alone; without any at all times."""
    health: HealthProvider = HealthProvider.CONTAINER


def _fits_services(budget: DisruptionBudget) -> DisruptionBudget:
    if budget.policy.relocation_limit is not None:
        raise ValueError(
            "policy.relocation_limit is for tasks and batch jobs: a copy of a service is replaced, "
            "not moved; use policy.unhealthy_limit"
        )
    return budget


ServiceDisruptionBudget = Annotated[DisruptionBudget, AfterValidator(_fits_services)]


class DisruptionBudgetChange(Spec):
    """Another budget for a task or batch job that runs; what was moved before counts to it, too."""

    disruption_budget: DisruptionBudget | None
    """None for the default of its kind."""
    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)
    """Kept among the events of the job."""

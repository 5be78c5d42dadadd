"""Automatic scaling of a service: by which figures, how far and how quickly."""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fleetwide.models.base import Name, Record, Spec, Timestamp
from fleetwide.models.metrics import MAX_HISTORY_SECONDS, MAX_VALUE, Metric, MetricName

MAX_POLICIES = 10
MAX_STEPS = 20
MAX_CHANGE = 2500

CoolDown = Annotated[float, Field(ge=0, le=86_400)]
Period = Annotated[float, Field(ge=1, le=MAX_HISTORY_SECONDS)]
Finite = Annotated[float, Field(ge=-MAX_VALUE, le=MAX_VALUE, allow_inf_nan=False)]


class TargetTracking(Spec):
    """As many copies as bring the metric to ``target``."""

    target: Annotated[float, Field(gt=0, le=MAX_VALUE, allow_inf_nan=False, examples=[0.6])]
    """What the metric of one copy shall be."""
    shared: bool | None = None
    """Whether samples that name no task are what all copies have to share, as a queue's depth is;
    unset, those of ``queueDepth`` and ``requests`` are."""
    tolerance: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Nothing is done while the metric is no further from the target than this fraction of it."""
    scale_out_cooldown_seconds: CoolDown = 60.0
    """From one growth by this policy to the next."""
    scale_in_cooldown_seconds: CoolDown = 300.0
    """From any change of ``desired`` to a shrinking."""
    scale_in_window_seconds: Annotated[float, Field(ge=0, le=MAX_HISTORY_SECONDS)] = 300.0
    """It shrinks to what the busiest period of so long would have needed."""
    disable_scale_in: bool = False
    """It only grows the service; others never shrink it below what this one wants."""


class Comparison(StrEnum):
    """How a value stands to the threshold when the alarm is on."""

    ABOVE = "above"
    AT_LEAST = "atLeast"
    BELOW = "below"
    AT_MOST = "atMost"


UPWARD = frozenset({Comparison.ABOVE, Comparison.AT_LEAST})


class Statistic(StrEnum):
    """What all samples of a period are made into."""

    AVERAGE = "average"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    SUM = "sum"


class Alarm(Spec):
    """When the steps are taken: each of the last ``periods`` periods is beyond the threshold."""

    comparison: Comparison
    threshold: Finite
    statistic: Statistic = Statistic.AVERAGE
    periods: Annotated[int, Field(ge=1, le=60)] = 1


class Adjustment(StrEnum):
    """What a step's number means."""

    CHANGE = "change"
    """So many copies more, or less."""
    PERCENT = "percent"
    """So many percent of ``desired`` more, or less."""
    EXACT = "exact"
    """So many copies."""


class Step(Spec):
    """What is done while the value, less the threshold, is between two bounds."""

    lower: Finite | None = None
    """None: any below. The bound towards the threshold belongs to the step."""
    upper: Finite | None = None
    """None: any above."""
    adjustment: Annotated[float, Field(ge=-MAX_CHANGE, le=MAX_CHANGE, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower ({self.lower:g}) must be less than upper ({self.upper:g})")
        return self


class StepScaling(Spec):
    """An alarm, and how much is done the further the value is beyond its threshold."""

    alarm: Alarm
    adjustment: Adjustment = Adjustment.CHANGE
    steps: Annotated[list[Step], Field(min_length=1, max_length=MAX_STEPS)]
    """Without gaps, by rising bounds; together they cover all that turns the alarm on."""
    cooldown_seconds: CoolDown = 300.0
    """From one growth by this policy to the next, and from any change to a shrinking."""
    min_magnitude: Annotated[int, Field(ge=1, le=MAX_CHANGE)] = 1
    """Of ``percent``: at least so many copies."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        self._check_bounds()
        for index, step in enumerate(self.steps):
            self._check_number(f"steps[{index}].adjustment", step.adjustment)
        if self.min_magnitude != 1 and self.adjustment is not Adjustment.PERCENT:
            raise ValueError("min_magnitude: only for the adjustment percent")
        return self

    def _check_bounds(self) -> None:
        for index, (one, following) in enumerate(
            zip(self.steps, self.steps[1:], strict=False), start=1
        ):
            if one.upper is None or one.upper != following.lower:
                raise ValueError(
                    f"steps[{index}].lower: must be the upper of the step before "
                    f"({_bound(one.upper)}), not {_bound(following.lower)}"
                )
        first, last = self.steps[0].lower, self.steps[-1].upper
        up = self.alarm.comparison in UPWARD
        if first is not None and (not up or first > 0):
            raise ValueError(f"steps[0].lower: must be {'0 or unset' if up else 'unset'}")
        if last is not None and (up or last < 0):
            raise ValueError(f"steps[-1].upper: must be {'unset' if up else '0 or unset'}")

    def _check_number(self, field: str, number: float) -> None:
        if self.adjustment is Adjustment.EXACT and number < 0:
            raise ValueError(f"{field}: must be at least 0 for exact")
        if self.adjustment is not Adjustment.PERCENT and not number.is_integer():
            raise ValueError(f"{field}: must be a whole number of copies")
        if self.adjustment is not Adjustment.EXACT and number == 0:
            raise ValueError(f"{field}: 0 would change nothing")


class ScalingPolicy(Spec):
    """One rule by which the platform changes ``capacity.desired``, between min and max."""

    name: Name
    metric: MetricName
    """``cpu`` and ``memory`` are measured by the hosts, others pushed to ``/v1/metrics``."""
    period_seconds: Period = 60.0
    """What was told within so long makes one value; older samples are stale."""
    target_tracking: TargetTracking | None = None
    step_scaling: StepScaling | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.target_tracking is None) == (self.step_scaling is None):
            raise ValueError("needs exactly one of target_tracking, step_scaling")
        if self.history_seconds > MAX_HISTORY_SECONDS + self.period_seconds:
            raise ValueError(
                "period_seconds: all periods of the alarm together may last "
                f"{MAX_HISTORY_SECONDS} s, not {self.history_seconds - self.period_seconds:g} s"
            )
        return self

    @property
    def history_seconds(self) -> float:
        """How far back its samples matter."""
        if self.step_scaling is not None:
            return (self.step_scaling.alarm.periods + 1) * self.period_seconds
        assert self.target_tracking is not None
        window = self.target_tracking.scale_in_window_seconds
        return max(window, self.period_seconds) + self.period_seconds

    @property
    def recent_seconds(self) -> float:
        """The same, unless it would shrink the service by its target."""
        return 2 * self.period_seconds if self.step_scaling is None else self.history_seconds

    @property
    def shares(self) -> bool:
        """Whether samples of the whole service are divided among its copies."""
        tracking = self.target_tracking
        if tracking is None or tracking.shared is None:
            return self.metric in (Metric.QUEUE_DEPTH, Metric.REQUESTS)
        return tracking.shared


def _names_differ(policies: list[ScalingPolicy]) -> list[ScalingPolicy]:
    twice = [name for name, times in Counter(one.name for one in policies).items() if times > 1]
    if twice:
        raise ValueError(f"two policies have the name {twice[0]}")
    return policies


ScalingPolicies = Annotated[
    list[ScalingPolicy], Field(max_length=MAX_POLICIES), AfterValidator(_names_differ)
]


class HoldCode(StrEnum):
    """Why automatic scaling changes nothing now."""

    NO_POLICIES = "noPolicies"
    DISABLED = "disabled"
    NO_SAMPLES = "noSamples"
    STALE_SAMPLES = "staleSamples"
    TOO_FEW_SAMPLES = "tooFewSamples"
    ON_TARGET = "onTarget"
    ALARM_OFF = "alarmOff"
    COOLING_DOWN = "coolingDown"
    STABILISING = "stabilising"
    SCALE_IN_DISABLED = "scaleInDisabled"
    NOT_AGREED = "notAgreed"
    AT_MAXIMUM = "atMaximum"
    AT_MINIMUM = "atMinimum"
    INCREASE_DISABLED = "increaseDisabled"
    DECREASE_DISABLED = "decreaseDisabled"
    UPDATE_REFUSED = "updateRefused"
    """The service did not take the change; it is asked again."""


class LastAction(Record):
    """A change of ``desired``; without a policy where people made it."""

    policy: str = ""
    at: Timestamp
    before: int
    after: int


class PolicyVerdict(Record):
    """What one policy says at the moment."""

    policy: str
    wants: int | None = None
    """Copies; None where it has nothing to say."""
    code: HoldCode | None = None
    """Why it does not act; None when it does."""
    sentence: str
    numbers: dict[str, float] = {}


class ScalingStatus(Record):
    """What automatic scaling did last and why it does nothing now."""

    service_id: str
    desired: int
    min: int
    max: int
    at: Timestamp | None = None
    """When it was decided last; None before the first time."""
    code: HoldCode | None = None
    """Why nothing was done; None when something was."""
    sentence: str
    numbers: dict[str, float] = {}
    policies: list[PolicyVerdict] = []
    last_actions: list[LastAction] = []


def _bound(value: float | None) -> str:
    return "unset" if value is None else f"{value:g}"

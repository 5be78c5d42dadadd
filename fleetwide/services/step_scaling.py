"""Step scaling: an alarm, and the further beyond its threshold, the more is done."""

import math
from collections.abc import Callable
from operator import ge, gt, le, lt

from fleetwide.models.scaling import (
    UPWARD,
    Adjustment,
    Alarm,
    Comparison,
    HoldCode,
    Step,
    StepScaling,
)
from fleetwide.services.scaling_verdicts import Case, Stance, Stand

_COMPARE: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.ABOVE: gt,
    Comparison.AT_LEAST: ge,
    Comparison.BELOW: lt,
    Comparison.AT_MOST: le,
}
_WORDS: dict[Comparison, str] = {
    Comparison.ABOVE: "above",
    Comparison.AT_LEAST: "at least",
    Comparison.BELOW: "below",
    Comparison.AT_MOST: "at most",
}


def judge(case: Case, scaling: StepScaling) -> Stand:
    """How the policy stands: quiet while its alarm is off."""
    alarm = scaling.alarm
    values = _values(case, alarm)
    if values is None:
        return case.blind()
    told = f"{case.policy.metric} ({alarm.statistic}) is {values[0]:.4g}"
    limit = f"{_WORDS[alarm.comparison]} {alarm.threshold:g}"
    numbers = {
        "value": round(values[0], 6),
        "threshold": alarm.threshold,
        "periods": float(len(values)),
        "desired": float(case.service.desired),
    }
    on = [value for value in values if _COMPARE[alarm.comparison](value, alarm.threshold)]
    if len(on) < alarm.periods:
        sentence = f"{told}; {len(on)} of {alarm.periods} periods are {limit}"
        return case.stand(Stance.QUIET, sentence, code=HoldCode.ALARM_OFF, numbers=numbers)
    step = _step(scaling, values[0] - alarm.threshold)
    wants = _adjusted(scaling, step, case.service.desired)
    numbers["wants"] = float(wants)
    return _beyond(case, scaling, wants, f"{told}, {limit}", numbers)


def _beyond(
    case: Case, scaling: StepScaling, wants: int, sentence: str, numbers: dict[str, float]
) -> Stand:
    """The alarm is on: act, unless a cool-down lasts."""
    desired, cooldown = case.service.desired, scaling.cooldown_seconds
    if wants == desired:
        return case.stand(
            Stance.STAY, sentence, code=HoldCode.ON_TARGET, wants=wants, numbers=numbers
        )
    out = wants > desired
    pause = case.growth_pause(cooldown) if out else case.shrink_pause(cooldown)
    if pause > 0:
        return case.stand(
            Stance.STAY,
            f"{sentence}; the cool-down lasts {pause:.0f} s more",
            code=HoldCode.COOLING_DOWN,
            wants=wants,
            numbers=numbers,
        )
    stance = Stance.OUT if out else Stance.IN
    return case.stand(stance, sentence, wants=wants, numbers=numbers)


def _values(case: Case, alarm: Alarm) -> list[float] | None:
    """The statistic of each of the last periods, the newest first; None when one has no samples."""
    periods = [case.history.period(index) for index in range(alarm.periods)]
    if any(one is None for one in periods):
        return None
    return [one.statistic(alarm.statistic) for one in periods if one is not None]


def _step(scaling: StepScaling, beyond: float) -> Step:
    """The step for a value; a bound that two share belongs to the one nearer to the alarm's end."""
    if scaling.alarm.comparison in UPWARD:
        fits = [one for one in scaling.steps if one.lower is None or beyond >= one.lower]
        return fits[-1]
    fits = [one for one in scaling.steps if one.upper is None or beyond <= one.upper]
    return fits[0]


def _adjusted(scaling: StepScaling, step: Step, desired: int) -> int:
    match scaling.adjustment:
        case Adjustment.EXACT:
            return int(step.adjustment)
        case Adjustment.CHANGE:
            return max(0, desired + int(step.adjustment))
        case Adjustment.PERCENT:
            change = desired * step.adjustment / 100
            # Towards zero as in AWS, but a step never does nothing.
            most = max(math.floor(abs(change)), scaling.min_magnitude)
            return max(0, desired + (most if step.adjustment > 0 else -most))

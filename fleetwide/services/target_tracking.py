"""Target tracking: as many copies as bring a metric to its target.

Copies that told nothing count as idle when the service would grow, and as on target when it would
shrink: copies that only just started never make it overshoot.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fleetwide.models.metrics import MAX_VALUE
from fleetwide.models.scaling import HoldCode, TargetTracking
from fleetwide.services.scaling_samples import PeriodSamples
from fleetwide.services.scaling_verdicts import Case, Stance, Stand

# What multiplying and dividing fractions leaves over must not become a whole copy.
_DUST = 1e-9


def _copies(number: float) -> int:
    return math.ceil(min(number, MAX_VALUE) - _DUST)


@dataclass(frozen=True)
class _Reading:
    """The newest period as one value of one copy, and the copies that it asks for."""

    value: float
    wants: int
    silent: int = 0
    """Copies that told nothing for a whole period yet."""


def judge(case: Case, tracking: TargetTracking) -> Stand:
    """How the policy stands by its newest figures and those of its window."""
    newest = case.history.period(0)
    if newest is None:
        return case.blind()
    reading = _read(case, tracking, newest)
    if reading is None:
        sentence = f"none of its copies has told its {case.policy.metric}"
        return case.stand(Stance.BLIND, sentence, code=HoldCode.NO_SAMPLES)
    desired = case.service.desired
    numbers = {
        "value": round(reading.value, 6),
        "target": tracking.target,
        "desired": float(desired),
        "wants": float(reading.wants),
        "silent": float(reading.silent),
    }
    each = " a copy" if desired > 1 else ""
    sentence = f"{case.policy.metric} is {reading.value:.4g}{each}, its target {tracking.target:g}"
    if reading.silent:
        sentence += f", and {reading.silent} of {desired} copies do not tell yet"

    def stand(stance: Stance, more: str, wants: int, code: HoldCode | None = None) -> Stand:
        return case.stand(stance, sentence + more, code=code, wants=wants, numbers=numbers)

    if reading.wants == desired:
        return stand(Stance.STAY, "", desired, HoldCode.ON_TARGET)
    if reading.wants < desired:
        return _inward(case, tracking, reading, stand)
    pause = case.growth_pause(tracking.scale_out_cooldown_seconds)
    if pause > 0:
        more = f"; its scale-out cool-down lasts {pause:.0f} s more"
        return stand(Stance.STAY, more, reading.wants, HoldCode.COOLING_DOWN)
    return stand(Stance.OUT, "", reading.wants)


def _inward(
    case: Case, tracking: TargetTracking, reading: _Reading, stand: Callable[..., Stand]
) -> Stand:
    """Shrinking takes longer than growing: after a cool-down, to the most of the whole window."""
    desired, window = case.service.desired, tracking.scale_in_window_seconds
    if tracking.disable_scale_in:
        more = "; it only scales out"
        return stand(Stance.QUIET, more, reading.wants, HoldCode.SCALE_IN_DISABLED)
    pause = case.shrink_pause(tracking.scale_in_cooldown_seconds)
    if pause > 0:
        more = f"; the scale-in cool-down lasts {pause:.0f} s more"
        return stand(Stance.STAY, more, reading.wants, HoldCode.COOLING_DOWN)
    if case.history.oldest_age < window - case.policy.period_seconds:
        more = f"; there are samples of {case.history.oldest_age:.0f} s, and it needs {window:g} s"
        return stand(Stance.STAY, more, reading.wants, HoldCode.TOO_FEW_SAMPLES)
    past = [_asked_for(case, tracking, one) for one in case.history.since(window)]
    wants = max(reading.wants, *past) if past else reading.wants
    if wants >= desired:
        more = f"; within {window:g} s it was more"
        return stand(Stance.STAY, more, desired, HoldCode.STABILISING)
    return stand(Stance.IN, "", wants)


def _read(case: Case, tracking: TargetTracking, newest: PeriodSamples) -> _Reading | None:
    """The newest period; within the tolerance it asks for what there is.

    None where only copies that are over told something.
    """
    desired, target = case.service.desired, tracking.target
    if newest.of_service is not None:
        total = newest.of_service * (1 if case.policy.shares else desired)
        value = total / max(desired, 1)
        wants = _copies(total / target)
        if desired and abs(value / target - 1) <= tracking.tolerance:
            wants = desired
        return _Reading(value, wants)
    by_task = case.history.established(case.now, case.service.live)
    return _of_copies(case, tracking, by_task) if by_task else None


def _of_copies(case: Case, tracking: TargetTracking, by_task: dict[str, float]) -> _Reading:
    """What the copies need together; while versions change there are more than ``desired``."""
    target, desired = tracking.target, case.service.desired
    needed, told = sum(by_task.values()) / target, len(by_task)
    silent = max(desired - told, 0)
    if needed > desired * (1 + tracking.tolerance):
        wants = _copies(needed)
    elif needed + silent < desired * (1 - tracking.tolerance):
        wants = _copies(needed + silent)
    else:
        wants = desired
    return _Reading(needed * target / told, wants, silent)


def _asked_for(case: Case, tracking: TargetTracking, period: PeriodSamples) -> int:
    """The copies that an earlier period needed, however many there were then."""
    if period.of_service is None:
        return _copies(period.of_copies / tracking.target)
    total = period.of_service * (1 if case.policy.shares else case.service.desired)
    return _copies(total / tracking.target)

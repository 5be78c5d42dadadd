"""Automatic scaling decided: policies and figures in, one change or one reason for none out.

The policy that wants most copies wins when the service grows. It shrinks only when no policy is
against it, and to the most that any of them wants. What nobody has figures of is left alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetwide.models.metrics import MinuteFigures, Sample
from fleetwide.models.scaling import HoldCode, LastAction, PolicyVerdict, ScalingPolicy
from fleetwide.services import step_scaling, target_tracking
from fleetwide.services.scaling_samples import Figures, History
from fleetwide.services.scaling_verdicts import Case, Scalable, Stance, Stand

# Which reason is told when policies hold for several: what somebody may have to mend comes first.
_FOREMOST = (
    HoldCode.NO_SAMPLES,
    HoldCode.STALE_SAMPLES,
    HoldCode.TOO_FEW_SAMPLES,
    HoldCode.COOLING_DOWN,
    HoldCode.STABILISING,
    HoldCode.SCALE_IN_DISABLED,
    HoldCode.ON_TARGET,
    HoldCode.ALARM_OFF,
)


@dataclass(frozen=True)
class Decision:
    """Change ``desired``, because of this policy."""

    desired: int
    policy: str
    sentence: str
    numbers: dict[str, float]
    verdicts: list[PolicyVerdict] = field(default_factory=list)


@dataclass(frozen=True)
class Hold:
    """Change nothing, for this reason."""

    code: HoldCode
    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)
    verdicts: list[PolicyVerdict] = field(default_factory=list)


def decide(
    policies: Sequence[ScalingPolicy],
    service: Scalable,
    samples: Sequence[Sample],
    last_actions: Sequence[LastAction],
    now: datetime,
    minutes: Sequence[MinuteFigures] = (),
) -> Decision | Hold:
    """The change that the policies make now, within the service's limits and switches.

    ``samples`` reach back for the longest ``history_seconds``, or to where ``minutes`` end; those
    that are no numbers count as not there.
    """
    if not policies:
        return Hold(HoldCode.NO_POLICIES, "it has no policies")
    each, added_up = _by_metric(samples), _by_metric(minutes)
    cases = [
        Case(
            policy,
            service,
            History(each[policy.metric], now, policy.period_seconds, added_up[policy.metric]),
            last_actions,
            now,
        )
        for policy in policies
    ]
    stands = [_with_faults(_judged(case), service.faults_of(case.policy.metric)) for case in cases]
    verdicts = [stand.verdict for stand in stands]
    if not service.enabled:
        return Hold(HoldCode.DISABLED, "the service is not enabled", verdicts=verdicts)
    chosen = _most(stands, Stance.OUT) or _agreed(stands)
    if chosen is None:
        return _held(stands)
    return _within_limits(service, chosen, verdicts)


def _by_metric(figures: Sequence[Figures]) -> defaultdict[str, list[Figures]]:
    found = defaultdict[str, list[Figures]](list)
    for one in figures:
        found[one.metric].append(one)
    return found


def _judged(case: Case) -> Stand:
    if case.policy.step_scaling is not None:
        return step_scaling.judge(case, case.policy.step_scaling)
    assert case.policy.target_tracking is not None
    return target_tracking.judge(case, case.policy.target_tracking)


def _with_faults(stand: Stand, faults: Mapping[str, str]) -> Stand:
    """Say, too, that figures are missing, and why."""
    if not faults:
        return stand
    task, why = min(faults.items())
    whose = task if len(faults) == 1 else f"{len(faults)} copies, such as {task}"
    verdict = stand.verdict
    more = {
        "sentence": f"{verdict.sentence}; no figure of {whose}: {why}",
        "numbers": {**verdict.numbers, "faults": float(len(faults))},
    }
    return Stand(stand.stance, verdict.model_copy(update=more))


def _most(stands: Sequence[Stand], *stances: Stance) -> PolicyVerdict | None:
    """The one that wants most copies; the first of several."""
    found = [s.verdict for s in stands if s.stance in stances and s.verdict.wants is not None]
    return max(found, key=lambda one: one.wants or 0, default=None)


def _agreed(stands: Sequence[Stand]) -> PolicyVerdict | None:
    """What the service may shrink to; None while any policy is against it."""
    stances = {stand.stance for stand in stands}
    if Stance.IN not in stances or not stances <= {Stance.IN, Stance.QUIET}:
        return None
    return _most(stands, Stance.IN, Stance.QUIET)


def _held(stands: Sequence[Stand]) -> Hold:
    verdicts = [stand.verdict for stand in stands]
    wish = next((stand.verdict for stand in stands if stand.stance is Stance.IN), None)
    reasons = sorted(
        (one for one in verdicts if one.code is not None),
        key=lambda one: _FOREMOST.index(one.code) if one.code else 0,
    )
    reason = reasons[0]
    assert reason.code is not None
    if wish is None:
        return Hold(reason.code, _told(reason), reason.numbers, verdicts)
    return Hold(
        HoldCode.NOT_AGREED,
        f"{wish.policy} wants {wish.wants}, but {_told(reason)}",
        wish.numbers,
        verdicts,
    )


def _told(verdict: PolicyVerdict) -> str:
    return f"{verdict.policy}: {verdict.sentence}"


def _within_limits(
    service: Scalable, chosen: PolicyVerdict, verdicts: list[PolicyVerdict]
) -> Decision | Hold:
    wants = chosen.wants or 0
    desired = min(max(wants, service.min), service.max)
    numbers = {**chosen.numbers, "wants": float(wants), "after": float(desired)}
    growing = wants > service.desired

    def hold(code: HoldCode, why: str) -> Hold:
        return Hold(code, f"{_told(chosen)}; it wants {wants}, but {why}", numbers, verdicts)

    if growing and not service.may_grow:
        return hold(HoldCode.INCREASE_DISABLED, "growing is disabled")
    if not growing and not service.may_shrink:
        return hold(HoldCode.DECREASE_DISABLED, "shrinking is disabled")
    if desired == service.desired:
        return hold(*_limit(service, growing=growing))
    sentence = f"{_told(chosen)}: {service.desired} -> {desired}"
    if desired != wants:
        sentence += f" ({wants} would be beyond {'max' if growing else 'min'})"
    return Decision(desired, chosen.policy, sentence, numbers, verdicts)


def _limit(service: Scalable, *, growing: bool) -> tuple[HoldCode, str]:
    if growing:
        return HoldCode.AT_MAXIMUM, f"max is {service.max}"
    return HoldCode.AT_MINIMUM, f"min is {service.min}"

"""What one policy says: how many copies it wants, or why it has no say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from fleetwide.models.scaling import HoldCode, LastAction, PolicyVerdict, ScalingPolicy
from fleetwide.services.scaling_samples import History


@dataclass(frozen=True)
class Scalable:
    """What scaling may do with a service."""

    desired: int
    min: int
    max: int
    enabled: bool = True
    may_grow: bool = True
    may_shrink: bool = True
    live: frozenset[str] | None = None
    """Task ids of the copies that are not over; None: all that tell something count."""
    faults: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Why endpoints of copies have no figure: by metric and task."""

    def faults_of(self, metric: str) -> dict[str, str]:
        """Those of the copies that are not over, by task."""
        known = self.faults.get(metric, {})
        return {task: why for task, why in known.items() if self.live is None or task in self.live}


class Stance(Enum):
    """How a policy stands to a change."""

    OUT = auto()
    IN = auto()
    STAY = auto()
    """It is against shrinking."""
    QUIET = auto()
    """It is for nothing, and against nothing above what it wants."""
    BLIND = auto()
    """It has no figures, so it is against shrinking."""


@dataclass(frozen=True)
class Stand:
    """A policy's stance with its reasons."""

    stance: Stance
    verdict: PolicyVerdict


@dataclass(frozen=True)
class Case:
    """What one policy decides upon."""

    policy: ScalingPolicy
    service: Scalable
    history: History
    last_actions: Sequence[LastAction]
    now: datetime

    def growth_pause(self, seconds: float) -> float:
        """Seconds until this policy may let the service grow again; 0 when it may now.

        A growth that no policy is known to have made counts for all.
        """
        own = (
            one.at
            for one in self.last_actions
            if one.policy in ("", self.policy.name) and one.after > one.before
        )
        return self._left(max(own, default=None), seconds)

    def shrink_pause(self, seconds: float) -> float:
        """Seconds until the service may shrink; 0 when it may now."""
        return self._left(max((one.at for one in self.last_actions), default=None), seconds)

    def _left(self, since: datetime | None, seconds: float) -> float:
        if since is None:
            return 0.0
        return max(0.0, (since + timedelta(seconds=seconds) - self.now).total_seconds())

    def stand(
        self,
        stance: Stance,
        sentence: str,
        *,
        code: HoldCode | None = None,
        wants: int | None = None,
        numbers: dict[str, float] | None = None,
    ) -> Stand:
        verdict = PolicyVerdict(
            policy=self.policy.name,
            wants=wants,
            code=code,
            sentence=sentence,
            numbers=numbers or {},
        )
        return Stand(stance, verdict)

    def blind(self) -> Stand:
        """That there are no figures, or none that are new enough."""
        metric, age = self.policy.metric, self.history.newest_age
        if age is None:
            sentence = f"there are no samples of {metric}"
            if self.history.unusable:
                sentence += f" but {self.history.unusable} that are no numbers from 0 on"
            return self.stand(Stance.BLIND, sentence, code=HoldCode.NO_SAMPLES)
        period = self.policy.period_seconds
        return self.stand(
            Stance.BLIND,
            f"the newest sample of {metric} is {age:.0f} s old, and older ones than "
            f"{period:g} s are stale",
            code=HoldCode.STALE_SAMPLES,
            numbers={"ageSeconds": round(age, 1), "periodSeconds": period},
        )

"""The gate of one job: which of its attempts may leave now, and why the others may not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetwide.containers.disruption_rates import (
    Rate,
    SystemQuota,
    Tokens,
    free_at,
    rate_of,
    still_used,
)
from fleetwide.containers.disruption_windows import is_open, opens_at
from fleetwide.containers.disruptions import min_healthy
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.disturbances import Refusal, RefusalCode


@dataclass(frozen=True)
class Member:
    """One live attempt of a job."""

    healthy: bool
    relocations: int = 0
    """How often its task or child was moved before, by the lineage's counter of evictions."""
    announced_at: datetime | None = None
    """Since when it is wanted away; None before anybody asked."""


@dataclass
class JobGate:
    """A job's budget and what is left of it; ``take`` uses it up."""

    budget: DisruptionBudget
    desired: int
    members: Mapping[int, Member]
    """Live attempts by number; those that were asked to leave are not healthy."""
    used: list[datetime] = field(default_factory=list)
    """When attempts were let go, as far back as the longest interval."""
    healthy: int = field(init=False)
    """How many are healthy, and stay."""

    def __post_init__(self) -> None:
        self.healthy = sum(one.healthy for one in self.members.values())

    def take(self, number: int, now: datetime) -> None:
        """The attempt leaves; each does once."""
        self.healthy -= self.members[number].healthy
        self.used.append(now)

    def refusal(self, number: int, now: datetime) -> Refusal | None:
        """Why the attempt may not leave now; None when it may."""
        one = self.members[number]
        return (
            self._moved_too_often(number, one)
            or self._owner_has_time(number, one, now)
            or self._closed(number, now)
            or self._too_few_healthy(number, one)
            or self._too_fast(number, now)
        )

    def _moved_too_often(self, number: int, one: Member) -> Refusal | None:
        limit = self.budget.policy.relocation_limit
        if limit is None or one.relocations < limit.times:
            return None
        return Refusal(
            attempt_id=number,
            code=RefusalCode.RELOCATION_LIMIT,
            sentence=f"it was moved {one.relocations} times, and may be {limit.times} times",
            numbers={"relocations": one.relocations, "limit": limit.times},
        )

    def _owner_has_time(self, number: int, one: Member, now: datetime) -> Refusal | None:
        policy = self.budget.policy.self_managed
        if policy is None:
            return None
        since = one.announced_at or now
        until = since + timedelta(seconds=policy.relocation_seconds)
        if until <= now:
            return None
        return Refusal(
            attempt_id=number,
            code=RefusalCode.SELF_MANAGED,
            sentence=f"its owner has until {_clock(until)} to move it",
            numbers={"relocationSeconds": policy.relocation_seconds},
            until=until,
        )

    def _closed(self, number: int, now: datetime) -> Refusal | None:
        windows = self.budget.windows
        if is_open(windows, now):
            return None
        until = opens_at(windows, now)
        when = f"the next one opens at {_clock(until)}" if until else "none ever opens"
        return Refusal(
            attempt_id=number,
            code=RefusalCode.WINDOW_CLOSED,
            sentence=f"its budget has {len(windows)} windows; {when}",
            until=until,
        )

    def _too_few_healthy(self, number: int, one: Member) -> Refusal | None:
        least, healthy = min_healthy(self.budget.policy, self.desired), self.healthy
        # One that is not healthy takes nothing away, but may go only while the others suffice.
        left = healthy - 1 if one.healthy else healthy
        if left >= least:
            return None
        return Refusal(
            attempt_id=number,
            code=RefusalCode.TOO_FEW_HEALTHY,
            sentence=f"{healthy} of {self.desired} are healthy, and {least} have to stay so",
            numbers={"healthy": healthy, "desired": self.desired, "minHealthy": least},
        )

    def _too_fast(self, number: int, now: datetime) -> Refusal | None:
        rate = rate_of(self.budget.rate, self.desired)
        until = now if rate is None else free_at(self.used, rate, now)
        if rate is None or until == now:
            return None
        return Refusal(
            attempt_id=number,
            code=RefusalCode.RATE_USED,
            sentence=_too_fast(rate, until),
            numbers={
                "used": len(still_used(self.used, rate, now)),
                "allowed": rate.count,
                "seconds": rate.seconds,
            },
            until=until,
        )


def _too_fast(rate: Rate, until: datetime | None) -> str:
    if until is None:
        return "its rate is 0: it is moved only by force"
    return f"{rate.count} were moved in {rate.seconds:g} s; the next may be at {_clock(until)}"


def system_refusal(number: int, tokens: Tokens, system: SystemQuota) -> Refusal | None:
    """Why the platform moves nothing more of anybody now; None when it does."""
    until = tokens.next_at(system)
    if until is not None and tokens.left >= 1:
        return None
    when = f"the next at {_clock(until)}" if until else "none until the settings change"
    return Refusal(
        attempt_id=number,
        code=RefusalCode.SYSTEM_QUOTA,
        sentence=f"the platform moves {system.per_second:g} tasks per second; {when}",
        numbers={"tokens": tokens.left, "perSecond": system.per_second, "most": system.most},
        until=until,
    )


def _clock(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"

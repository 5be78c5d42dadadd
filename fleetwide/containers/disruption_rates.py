"""How fast tasks are moved: sliding windows of buckets, and a bucket of tokens for all."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from fleetwide.models.disruptions import DisruptionRate

BUCKETS = 20
HOUR_SECONDS = 3600.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Rate:
    """So many in any time of this length."""

    count: int
    seconds: float


def rate_of(rate: DisruptionRate, desired: int) -> Rate | None:
    """The rate as it is for a job of this size now; None where there is no limit."""
    if (by_count := rate.count_per_interval) is not None:
        return Rate(by_count.count, by_count.seconds)
    if (by_hour := rate.percentage_per_hour) is not None:
        return Rate(_share(by_hour.percent, desired), HOUR_SECONDS)
    if (by_share := rate.percentage_per_interval) is not None:
        return Rate(_share(by_share.percent, desired), by_share.seconds)
    return None


def _share(percent: float, desired: int) -> int:
    """Rounded down, but at least one where it is more than nothing."""
    return max(int(part(percent, desired)), 1 if percent > 0 else 0)


def part(percent: float, desired: int) -> Fraction:
    """``percent`` of ``desired``, exactly: 2.3 % of 1000 are 23, which floats miss."""
    return Fraction(str(percent)) * desired / 100


def still_used(used: Iterable[datetime], rate: Rate, now: datetime) -> list[datetime]:
    """Those of ``used`` that count yet, the oldest first.

    Time is cut into buckets, 20 to the interval. What lies in the last 20 full ones and in the one
    that has just begun counts: so no time of the interval's length ever sees more than the rate.
    """
    oldest = _bucket(now, rate) - BUCKETS
    return sorted(time for time in used if _bucket(time, rate) >= oldest)


def free_at(used: Iterable[datetime], rate: Rate, now: datetime) -> datetime | None:
    """When the next one may be moved: now, later, or never for a rate of nothing."""
    counted = still_used(used, rate, now)
    if len(counted) < rate.count:
        return now
    if rate.count == 0:
        return None
    last_to_leave = counted[len(counted) - rate.count]
    return _begin(_bucket(last_to_leave, rate) + BUCKETS + 1, rate)


def _bucket(time: datetime, rate: Rate) -> int:
    return (time - _EPOCH) // _MICROSECOND * BUCKETS // _microseconds(rate)


def _begin(bucket: int, rate: Rate) -> datetime:
    return _EPOCH + _MICROSECOND * -(-bucket * _microseconds(rate) // BUCKETS)


def _microseconds(rate: Rate) -> int:
    return round(rate.seconds * 1_000_000)


@dataclass(frozen=True)
class SystemQuota:
    """What the platform moves of all jobs together: tokens that come back by the second."""

    most: float
    per_second: float


@dataclass(frozen=True)
class Tokens:
    """How many there were at a time."""

    left: float
    at: datetime

    def by(self, now: datetime, quota: SystemQuota) -> "Tokens":
        """How many there are ``now``; a clock that was set back gives none."""
        seconds = max((now - self.at).total_seconds(), 0.0)
        return Tokens(min(quota.most, self.left + seconds * quota.per_second), now)

    def without(self, count: float) -> "Tokens":
        """The rest; what is taken by force may leave less than none behind."""
        return Tokens(self.left - count, self.at)

    def next_at(self, quota: SystemQuota) -> datetime | None:
        """When there is one; never if none come back."""
        if self.left >= 1:
            return self.at
        if not quota.per_second or quota.most < 1:
            return None
        return self.at + timedelta(seconds=(1 - self.left) / quota.per_second)

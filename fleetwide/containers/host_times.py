"""Times that a host tells, where they fit into what the platform knows: its clock may be wrong.

How long something took is the host's own measure and stays; when it was is moved as little as the
platform's own times ask for: nothing starts before it was launched, nothing has ended after now.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Run:
    """When a container started and ended, as far as either is known."""

    started: datetime | None = None
    ended: datetime | None = None


def fitted(told: Run, *, launched: datetime | None, now: datetime) -> Run:
    """The run as it can have been; ``launched`` and ``now`` are the platform's times."""
    start, end = told.started, told.ended
    first = min(one for one in (launched or start or end, now) if one is not None)
    by = _moved_by(start or end, end or start, first, now)
    return Run(_within(start, by, first, now), _within(end, by, first, now))


def _moved_by(
    start: datetime | None, end: datetime | None, first: datetime, now: datetime
) -> timedelta:
    """Later where it began too early, earlier where it would end in what is still to come."""
    if start is None or end is None:
        return timedelta(0)
    by = max(first - start, timedelta(0))
    return min(by, now - end)


def _within(
    moment: datetime | None, by: timedelta, first: datetime, now: datetime
) -> datetime | None:
    return None if moment is None else min(max(moment + by, first), now)

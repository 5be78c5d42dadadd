"""When tasks may be moved: hours of days by the clock of a place, summer time included."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from fleetwide.models.disruptions import Day, DisruptionWindow, time_zone

DAYS_AHEAD = 15
"""A window of one weekday whose hours the clock skips once opens a week later."""
_DAYS = list(Day)


def is_open(windows: Sequence[DisruptionWindow], now: datetime) -> bool:
    """Whether tasks may be moved now; without windows always."""
    return not windows or any(_is_open(window, now) for window in windows)


def opens_at(windows: Sequence[DisruptionWindow], now: datetime) -> datetime | None:
    """When the first of them opens; ``now`` if one is open, None if none ever does."""
    if is_open(windows, now):
        return now
    return min((start for window in windows for start in _starts(window, now)), default=None)


def _is_open(window: DisruptionWindow, now: datetime) -> bool:
    wall = now.astimezone(time_zone(window.zone))
    return _DAYS[wall.weekday()] in window.days and window.from_hour <= wall.hour < window.to_hour


def _starts(window: DisruptionWindow, now: datetime) -> list[datetime]:
    """Moments behind ``now`` at which the window opens.

    An hour that the clock skips is a moment at which it shows a later one: then the window is open
    if it goes on until there. An hour that comes twice opens it twice.
    """
    zone = time_zone(window.zone)
    today = now.astimezone(zone).date()
    at = time(window.from_hour)
    found = [
        datetime.combine(today + timedelta(days=days), at, zone).replace(fold=fold).astimezone(UTC)
        for days in range(DAYS_AHEAD)
        for fold in (0, 1)
    ]
    return [start for start in found if start > now and _is_open(window, start)]

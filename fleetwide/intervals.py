"""Work that is done every so often, by clocks that people and machines set."""

from datetime import datetime, timedelta

NOTHING = timedelta(0)


def is_over(since: datetime | None, length: timedelta, now: datetime) -> bool:
    """Whether so much time has passed, or nothing was done yet.

    Also when ``since`` lies ahead: the clock was set back, and nobody waits until it is back there.
    """
    return since is None or not NOTHING <= now - since < length

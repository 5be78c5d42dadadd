"""A silent host that comes back: whether it still has the container of an attempt."""

from fleetwide.models.base import Record, Timestamp
from fleetwide.models.containers import AttemptKey


class FindContainer(Record):
    """Input of ``hosts.find_container``."""

    key: AttemptKey
    taken_up: bool = False
    """Ask until an activity of the host is at work on it."""


class FoundContainer(Record):
    """Whether the attempt's main container runs on the host, and since when."""

    running: bool = False
    started_at: Timestamp | None = None

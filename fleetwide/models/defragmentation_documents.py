"""What the API tells about defragmentation: the next round, and why other hosts stay."""

from fleetwide.models.base import Record, Timestamp


class PlannedMove(Record):
    """A running task that would move, and where placement would put it now."""

    workflow_id: str
    index: int = 0
    host_id: str


class KeptHost(Record):
    """A host that is not emptied, and why."""

    host_id: str
    sentence: str


class DefragmentationDocument(Record):
    """The next round: which host would be emptied, and what for."""

    enabled: bool
    """Whether rounds begin by themselves (``FLEETWIDE_DEFRAGMENTATION``)."""
    sentence: str
    """What would be done now, or why nothing is."""
    under_way: str = ""
    """The host that is being emptied; there is one at a time."""
    since: Timestamp | None = None
    host_id: str | None = None
    """The host that would be emptied next."""
    moves: list[PlannedMove] = []
    room_for: str = ""
    """The waiting work that would have room on it; empty where it is to be free."""
    hosts: int = 0
    """Hosts that take work."""
    used: int = 0
    """Those of them that have tasks."""
    kept: list[KeptHost] = []

"""What the API tells about host pools."""

from fleetwide.models.base import Record, Timestamp
from fleetwide.models.pools import HostPoolSpec


class PoolMachineDocument(Record):
    """One machine of a pool, from its launch to its end."""

    machine_id: str
    """Its host has the same id."""
    type: str
    zone: str = ""
    image: str = ""
    host_state: str | None = None
    """None until it joined the fleet."""
    draining: bool = False
    rotates: str = ""
    """Why its pool is to replace it, is replacing it, or did."""
    launched_at: Timestamp
    joined_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    end: str | None = None
    """Why it ended: a code, such as ``neverRegistered``."""
    end_sentence: str = ""


class PoolRotationDocument(Record):
    """How far a refresh or rotation is."""

    due: int
    """Machines that are to be replaced; those that are being emptied for it are among them."""
    leaving: int
    """Those that are being emptied for it now."""
    sentence: str


class PoolDocument(Record):
    """A host pool, with the size that is wanted now."""

    name: str
    state: str
    spec: HostPoolSpec
    image: str = ""
    """What new machines are started from."""
    message: str = ""
    """What keeps the pool from what is wanted of it."""
    joined: int = 0
    """Machines that are in the fleet."""
    starting: int = 0
    draining: int = 0
    failures: int = 0
    """Machines in a row that never joined the fleet."""
    quiet_since: Timestamp | None = None
    """Since when no work has waited for a host."""
    rotation: PoolRotationDocument | None = None
    """While machines are to be replaced."""
    created_at: Timestamp
    updated_at: Timestamp
    machines: list[PoolMachineDocument] = []
    """Of one pool alone; the newest first, with the last ones that ended."""
    links: dict[str, str] = {}

"""What people see of the scheduler."""

from fleetwide.models.base import Record, Timestamp


class SchedulerDocument(Record):
    """Who places work: one scheduler at a time, any number of others stand by."""

    holder: str | None = None
    """Machine and process id; None before any scheduler ran, or when none holds the lease now."""
    token: int = 0
    """Raised by each change of hands; 0 before the first."""
    since: Timestamp | None = None
    expires_at: Timestamp | None = None
    """By the database's clock. Renewed each second; past it a standby takes over."""
    pending: bool = False
    """Whether any attempt has no host yet."""

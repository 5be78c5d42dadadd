"""What a service looks like at one moment: all that its decisions are made from."""

from datetime import datetime

from fleetwide.models.base import Record
from fleetwide.models.health import HealthStatus
from fleetwide.models.membership import Membership
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.task_states import EndReason, TaskState

DEAD = frozenset({TaskState.KILL_INITIATED, TaskState.FINISHED})


class Copy(Record):
    """One copy, with its newest attempt."""

    membership: Membership
    state: TaskState
    """``Accepted`` also before its task has a row."""
    health: HealthStatus | None = None
    """None where the container has no health check: then it is healthy as soon as it started."""
    healthy_since: datetime | None = None
    """None unless it is started and healthy."""
    host_id: str | None = None
    zone: str = ""
    accepted_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: EndReason | None = None
    """Why it ended."""
    message: str = ""
    leaving: bool = False
    """It was asked to go, for the platform's own reasons, once another has taken its place."""
    move: CopyMove | None = None
    """Who asked, if anybody, and how soon."""

    @property
    def lives(self) -> bool:
        """Whether it is neither over nor being stopped."""
        return self.state not in DEAD

    def ready(self, now: datetime, seconds: float) -> bool:
        """Whether it has been healthy for ``seconds``; one on a silent host is not."""
        return (
            self.state is TaskState.STARTED
            and self.healthy_since is not None
            and (now - self.healthy_since).total_seconds() >= seconds
        )


class Picture(Record):
    """All copies of a service that are not over, and what ended since the last look."""

    at: datetime
    copies: list[Copy]
    ended: list[Copy] = []

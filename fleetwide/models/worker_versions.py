"""What people see of the builds of the control workers, and what they want of them."""

from enum import StrEnum

from pydantic import Field

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.documents import Page
from fleetwide.models.texts import Line, Prose

MAX_BY, MAX_REASON = 200, 500


class VersionState(StrEnum):
    """What a build gets to do."""

    CURRENT = "current"
    """New runs, and every run that is not pinned elsewhere."""
    RAMPING = "ramping"
    """A part of these."""
    INACTIVE = "inactive"
    """Nothing: it was never promoted."""
    DRAINING = "draining"
    """Only runs that are pinned to it, until they end."""
    DRAINED = "drained"
    """Nothing any more: its workers may be stopped."""


class WorkerVersion(Record):
    """One build of the control workers."""

    build_id: str
    """``unversioned`` stands for the workers without a build id."""
    state: VersionState
    ramp_percent: float | None = None
    """Of new runs, in 0..100; None unless ramping."""
    since: Timestamp | None = None
    """When it came into this state."""
    last_current_at: Timestamp | None = None
    pollers: int = 0
    """Polls of its workers in the last 75 seconds; a worker that was stopped counts until then."""
    running: int = 0
    """Open runs whose last step it took; Temporal's index may be a moment behind."""
    pinned: int = 0
    """Those of them that cannot go on elsewhere."""
    failing: int = 0
    """Runs whose steps fail again and again: those that are pinned to it, and all that are not
    pinned, if it is the build that got runs last."""
    warning: str = ""
    """What is wrong with it, and what to do; empty when nothing is."""


class WorkerVersions(Page[WorkerVersion]):
    """All builds on one page, the one in use first, then the newest first."""

    deployment: str
    current: str
    """The build id that is current; ``unversioned`` before any was promoted."""

    def get(self, build_id: str) -> WorkerVersion | None:
        return next((item for item in self.items if item.build_id == build_id), None)


class VersionMove(Spec):
    """Argument of ``rollback``: who wants it, and why."""

    by: Line = Field(default="", max_length=MAX_BY)
    reason: Prose = Field(min_length=1, max_length=MAX_REASON)


class Promotion(VersionMove):
    """Argument of ``promote``."""

    percent: float | None = Field(default=None, gt=0, lt=100)
    """Only so much of new runs, and of runs that are not pinned; unset means all of them."""

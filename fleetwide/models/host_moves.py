"""What people ask of a host: to take no work, to be emptied, to leave the fleet."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.disturbances import OF_HOSTS, Cause, RefusalCode
from fleetwide.models.hosts import HostState
from fleetwide.models.texts import Line, Prose

MAX_DRAIN_SECONDS = 7 * 86_400


class HostMove(Spec):
    """Argument of ``cordon``, ``uncordon`` and ``phase_out``: who wants it, and why."""

    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)
    """Kept with the host; shown to everyone who looks at it."""


class HostRemoval(HostMove):
    """Argument of ``remove``."""

    force: bool = False
    """A host that does not answer also with tasks on it: they end as lost, and run elsewhere, once
    it has surely stopped them."""
    gone: bool = False
    """Its machine is surely off, for example terminated: as with ``force``, but nothing is waited
    for. Where it is not off after all, its tasks run twice until its guard stops them."""

    @property
    def of_a_silent_host(self) -> bool:
        """Whether it is only for a host that does not answer."""
        return self.force or self.gone


class DrainRequest(HostMove):
    """Argument of ``drain``: take no work, and have every task end and run elsewhere."""

    parallel: Annotated[int, Field(ge=1, le=1000)] = 10
    """So many tasks are being moved at a time."""
    deadline_seconds: Annotated[float, Field(ge=1, le=MAX_DRAIN_SECONDS)] = 3600.0
    """After this the drain gives up, or goes on by force."""
    force: bool = False
    """At the deadline, end all that is left at once, whatever would hold it back."""
    cause: Cause = Cause.DRAIN
    """What the host is emptied for. After a ``defragmentation`` it takes work again."""

    @property
    def takes_work_again(self) -> bool:
        """Whether the host takes work again afterwards, empty or not."""
        return self.cause is Cause.DEFRAGMENTATION

    def back(self, *, empty: bool) -> HostMove:
        """What is wanted of such a host afterwards."""
        gave_up = f"it could not be emptied in {self.deadline_seconds:g} s"
        return HostMove(by=self.by, reason="it is empty" if empty else gave_up)

    @field_validator("cause")
    @classmethod
    def _of_a_host(cls, cause: Cause) -> Cause:
        if cause not in OF_HOSTS:
            raise ValueError(f"must be one of {', '.join(sorted(OF_HOSTS))}")
        return cause


def is_sooner(asked: DrainRequest, running: DrainRequest, left_seconds: float) -> bool:
    """Whether a host that is being drained, for so long still, is asked to be empty sooner.

    A drain that ends by force cannot be turned into one that gives up.
    """
    return asked.deadline_seconds < left_seconds and (asked.force or not running.force)


class HostStanding(Record):
    """How a host stands: what people want of it, whether it answers, and who decided."""

    host_id: str
    state: HostState
    wanted: HostState = HostState.ACTIVE
    """What its state is while it answers."""
    by: str = ""
    reason: str = ""
    since: Timestamp | None = None


class HostChange(Record):
    """Input of ``hosts.change_standing``: what people want of a host from now on."""

    host_id: str
    wanted: HostState
    by: str = ""
    reason: str = ""
    gone: bool = False
    """Its machine is surely off."""


class DrainProgress(Record):
    """How far a drain is."""

    left: int = 0
    """Tasks that still hold something of the host."""
    asked: list[int] = []
    """Numbers of the attempts that have been asked to end."""
    ended: int = 0
    held_back: int = 0
    """Tasks that may not be disturbed yet."""
    refusals: dict[RefusalCode, int] = {}
    """What they wait for: how many for each."""
    moving: int = 0
    """Tasks that were let go, and have not ended."""
    again_in: float | None = None
    """Seconds until the first of those held back may go; None where nobody knows."""
    connected: bool = True
    """Whether the host answers: the tasks of one that does not are left alone."""


class HostStatus(Record):
    """Answer of the ``status`` query of ``Host``."""

    state: HostState
    wanted: HostState
    by: str = ""
    reason: str = ""
    message: str = ""
    """What it waits for."""
    drain: DrainProgress | None = None
    """The drain that runs, or ran last."""


class DrainStep(Record):
    """Input of ``hosts.drain_step``."""

    host_id: str
    request: DrainRequest
    asked: list[int] = []
    """What earlier steps have asked to end."""
    forced: bool = False


class Verdict(StrEnum):
    """What becomes of an attempt whose host is silent."""

    LOST = "lost"
    BACK = "back"
    """The host answers again: the attempt goes on there."""
    WAIT = "wait"


class SilentHost(Record):
    """Input of ``hosts.judge_host``: may this host be given up?"""

    host_id: str


class SilentAttempt(Record):
    """Input of ``hosts.judge_attempt``: may this attempt be given up?"""

    workflow_id: str
    run_id: str
    index: int = 0
    attempt: int = 1
    host_id: str
    fenced_at: Timestamp
    """Since then its container surely runs no more."""
    fenced_in_seconds: float | None = None
    """The same by the workflow's own clock when it asked: those of two machines may differ."""
    returns: int = 0
    """How often the host came back to it already."""


class Judgement(Record):
    """Answer to both questions; ``seconds`` is when to ask again."""

    verdict: Verdict
    seconds: float = 0.0
    sentence: str = ""


class ValveState(Record):
    """Whether decisions that something is lost are held back, because many hosts vanished."""

    frozen: bool
    silent: list[str] = []
    """The hosts that vanished together and are still away."""
    fleet: int = 0
    since: datetime | None = None
    sentence: str = ""
    released_at: datetime | None = None
    released_by: str = ""
    released_because: str = ""

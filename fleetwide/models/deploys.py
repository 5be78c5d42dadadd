"""Deploys: how far a service has come from one version to the next, and why it went that way."""

from datetime import datetime
from enum import StrEnum

from fleetwide.models.base import Record
from fleetwide.models.services import Strategy
from fleetwide.models.task_states import EndReason

MAX_FAILURES_TOLD = 5


class DeployPhase(StrEnum):
    """Where a deploy is."""

    RUNNING = "running"
    PAUSED = "paused"
    WAITING_PROMOTION = "waitingPromotion"
    ROLLING_BACK = "rollingBack"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolledBack"
    ABORTED = "aborted"


# Total over DeployPhase (a test asserts it): what people read.
PHASE_TEXT: dict[DeployPhase, str] = {
    DeployPhase.RUNNING: "the new version takes the place of the old one",
    DeployPhase.PAUSED: "somebody paused it: each version keeps its share of the copies",
    DeployPhase.WAITING_PROMOTION: "the new version did well; somebody has to promote it",
    DeployPhase.ROLLING_BACK: "it goes back to the last good version",
    DeployPhase.SUCCEEDED: "all copies run the new version",
    DeployPhase.FAILED: "it was given up where it stood",
    DeployPhase.ROLLED_BACK: "all copies run the last good version again",
    DeployPhase.ABORTED: "somebody stopped it where it stood, or a later deploy took its place",
}

OVER = frozenset(
    {
        DeployPhase.SUCCEEDED,
        DeployPhase.FAILED,
        DeployPhase.ROLLED_BACK,
        DeployPhase.ABORTED,
    }
)


class FailedCopy(Record):
    """A copy of the new version that speaks against it."""

    task_id: str
    index: int
    incarnation: int
    host_id: str | None = None
    reason: EndReason
    """``unhealthy`` also for one that its checks call so and that runs on."""
    message: str = ""


class Tally(Record):
    """What happened to the copies of one version while a step of a canary was held."""

    copies: int = 0
    ends: int = 0
    """Ends that the platform is not to blame for; each is a restart, too: another follows."""
    unhealthy: int = 0
    """Copies that were unhealthy at some time, and did not end."""

    @property
    def events(self) -> int:
        """All that speaks against the version."""
        return self.ends + self.unhealthy

    @property
    def rate(self) -> float:
        """Events per copy; 0 without copies."""
        return self.events / self.copies if self.copies else 0.0


class Verdict(Record):
    """How a step of a canary was judged: the new version against the old one, in the same time."""

    step: int
    good: bool
    new: Tally
    old: Tally
    allowed_rate: float
    """The new version may have had so many events per copy."""
    seconds: float
    """How long both were watched."""
    sentence: str


class DeployState(Record):
    """A deploy at one moment; all that has to be remembered from one look to the next."""

    number: int
    """Counts the deploys of the service."""
    from_revision: int | None = None
    """The last good version, to go back to; None on the first deploy."""
    to_revision: int
    strategy: Strategy
    phase: DeployPhase = DeployPhase.RUNNING
    started_at: datetime
    finished_at: datetime | None = None
    reason: str = ""
    """Why it is in this phase, with numbers; once it failed, why it did."""
    numbers: dict[str, float] = {}
    """Those of ``reason``."""

    step: int = 0
    """The step of a canary, from 0."""
    step_since: datetime | None = None
    """Since when the step's copies are watched: all were ready then."""
    new: Tally = Tally()
    old: Tally = Tally()
    """What happened since ``step_since``."""
    verdicts: list[Verdict] = []
    promoted: bool = False
    """The old version may go: all steps of the canary are done, or blue/green keeps it no more."""
    switched_at: datetime | None = None
    """Since when the new version has the traffic of blue/green."""

    desired: int | None = None
    """Copies that were desired at the last look; None before the first one."""
    share: int = 0
    """Copies that the new version was last allowed: those it keeps during a pause."""
    peak: int = 0
    """The most copies of the new version that were ready at once."""
    progress_at: datetime
    """When it last came a step forward."""
    lacks_since: datetime | None = None
    """Since when copies have been missing without a step forward; the deadline counts from here."""
    has_started: bool = False
    """A copy of the new version has been started once: its image is there."""
    failed: int = 0
    """Copies that spoke against the new version so far."""
    failures: list[FailedCopy] = []
    """The last ``MAX_FAILURES_TOLD`` of them."""
    heard: dict[int, int] = {}
    """By index the newest incarnation that has ended or was counted: none is counted twice."""
    watched: dict[int, int] = {}
    """The same of the copies that were counted since ``step_since``."""
    back_since: datetime | None = None
    """Since when it goes back, or has gone back, to ``from_revision``."""

    @property
    def over(self) -> bool:
        """Whether it changes nothing any more by itself."""
        return self.phase in OVER

    @property
    def goes_to(self) -> int:
        """The version that all copies shall have in the end, as things stand."""
        if self.back_since is not None and self.from_revision is not None:
            return self.from_revision
        return self.to_revision

    @property
    def can_go_back(self) -> bool:
        """Whether there is a good version other than the new one."""
        return self.from_revision not in (None, self.to_revision)

    @property
    def last_good(self) -> int | None:
        """The version that a later deploy goes back to when it fails."""
        return self.to_revision if self.phase is DeployPhase.SUCCEEDED else self.from_revision

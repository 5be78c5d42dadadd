"""Retention in the registry: what would go, what went, and why the rest stays."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.registry_policy import RetentionRule, SomePatterns
from fleetwide.models.texts import Line, Prose

MAX_EXAMPLES = 20
MAX_SHARES = 200
KEPT_EXAMPLES = 3
"""Of each repository, when the run's history is gone."""


class ReviewedTag(Record):
    """A tag, and what becomes of it."""

    tag: str
    digest: str
    rule: str = ""
    """The rule that speaks of it."""
    goes: bool
    reasons: list[str] = []
    """What speaks for it."""
    pushed_at: Timestamp
    last_pulled_at: Timestamp | None = None
    size: int = 0


class RepositoryRetention(Record):
    """What becomes of the tags of one repository."""

    repository: str
    goes: int = 0
    """Tags."""
    bytes: int = 0
    """Of images that lose their last tag; layers that others share are not freed."""
    examples: list[ReviewedTag] = []
    """The first of those that go, by name."""


class RetentionPhase(StrEnum):
    """Where a retention stands."""

    WRITING = "writing"
    """The report."""
    WAITING = "waiting"
    """The report is written; somebody may apply it."""
    APPLYING = "applying"
    APPLIED = "applied"
    OVER = "over"
    """Nothing went: nothing would have gone, or nobody wanted it to."""


class RetentionReport(Record):
    """What would go, or once it is applied what went."""

    phase: RetentionPhase = RetentionPhase.WRITING
    at: Timestamp | None = None
    """The moment that was judged for: nothing goes that this report does not count."""
    source: str = ""
    """The policy whose rules were asked."""
    repositories: int = 0
    """Repositories that a rule speaks of."""
    tags: int = 0
    """Tags that were looked at."""
    goes: int = 0
    bytes: int = 0
    kept: dict[str, int] = {}
    """Tags that stay, by the first reason."""
    shares: list[RepositoryRetention] = []
    """The repositories that lose most, up to 200."""
    ended: int = 0
    """Tags that were ended by the application of this report, all of them named by it."""

    def plus(self, page: "JudgedPage") -> "RetentionReport":
        """With one more page of repositories."""
        kept = dict(self.kept)
        for reason, count in page.kept.items():
            kept[reason] = kept.get(reason, 0) + count
        shares = sorted([*self.shares, *page.shares], key=lambda one: (-one.goes, one.repository))
        update = {
            "repositories": self.repositories + page.repositories,
            "tags": self.tags + page.tags,
            "goes": self.goes + page.goes,
            "bytes": self.bytes + page.bytes,
            "kept": kept,
            "shares": shares[:MAX_SHARES],
        }
        return self.model_copy(update=update)

    def brief(self) -> "RetentionReport":
        """What is kept of it: all but most of the examples."""
        shares = [
            one.model_copy(update={"examples": one.examples[:KEPT_EXAMPLES]}) for one in self.shares
        ]
        return self.model_copy(update={"shares": shares})

    @property
    def sentence(self) -> str:
        went = self.phase in (RetentionPhase.APPLYING, RetentionPhase.APPLIED)
        verb = f"{self.ended} tags went" if went else f"{self.goes} tags would go"
        return f"{verb} of {self.tags} in {self.repositories} repositories"


class RetentionPlan(Record):
    """The rules as they were when the report was begun."""

    rules: list[RetentionRule]
    source: str
    at: Timestamp
    run: str = ""
    """Under which the database keeps the names of the tags that go."""


class JudgePage(Record):
    """Repositories to judge, by name from behind ``after``."""

    plan: RetentionPlan
    repositories: list[str] | None = None
    """Patterns; None for all that a rule speaks of."""
    after: str = ""
    apply: bool = False
    by: str = ""
    reason: str = ""


class JudgedPage(Record):
    """What became of some repositories; ``next`` is where to go on."""

    next: str | None = None
    repositories: int = 0
    tags: int = 0
    goes: int = 0
    bytes: int = 0
    kept: dict[str, int] = {}
    shares: list[RepositoryRetention] = []
    ended: int = 0


class RetentionState(Record):
    """Where a run stands that goes on in another; nothing for people to give."""

    plan: RetentionPlan
    report: RetentionReport
    after: str
    """The repository behind which to go on."""


class RegistryRetentionRequest(Spec):
    """Input of ``RegistryRetention``."""

    apply: bool = False
    """Let the tags go without waiting for anybody; the report comes first all the same."""
    repositories: SomePatterns | None = None
    """Only these of the repositories that the policy's rules speak of."""
    wait_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72
    """How long the report waits for ``apply``; then nothing goes."""
    by: Line = ""
    reason: Prose = ""
    """Why the tags go."""
    so_far: RetentionState | None = None
    """What earlier runs of the same retention did; nothing for people to give."""


class ApplyRequest(Spec):
    """Who lets the reported tags go."""

    by: Line = ""
    reason: Prose = ""

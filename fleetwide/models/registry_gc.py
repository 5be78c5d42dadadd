"""The registry's upkeep: garbage collection, reconciliation, scrub; what they are told and tell."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field

from fleetwide.models.base import Bytes, Digest, Record, Spec, Timestamp
from fleetwide.models.texts import Line, Prose

MAX_EXAMPLES = 20
MAX_SHARES = 200
RepositoryName = Annotated[str, Field(min_length=1, max_length=255, examples=["apps/hello"])]
PerSecond = Annotated[float, Field(gt=0, le=100_000, examples=[200])]


class Kept(StrEnum):
    """Why something that was looked at stays."""

    TAGGED = "tagged"
    CHILD = "childOfIndex"
    REFERRER = "subjectLives"
    IN_USE = "inUse"
    FRESH = "fresh"
    """Pushed, tagged or leased a short while ago: it is looked at again later."""
    REFERENCED = "referenced"
    """A manifest refers to the blob."""
    GONE = "gone"
    """It was removed by somebody else already."""


class Use(Record):
    """Something that needs a digest."""

    kind: Literal["task", "batch", "osRelease", "image"]
    id: str
    """Workflow id of a task, batch job or release; bake key of an image."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class RepositoryShare(Record):
    """What of a repository went, or would go."""

    repository: str
    manifests: int = 0
    blobs: int = 0
    """Blobs that no manifest of the repository refers to any more."""
    bytes: int = 0
    """Of these blobs; one that also belongs elsewhere frees nothing."""


class Coming(Record):
    """What waits for a review still, and would go if nobody touched it until then."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    by: Timestamp
    """When the last of it is due."""


class GarbageReport(Record):
    """What a collection removed, or with ``dry_run`` would remove."""

    dry_run: bool = False
    reviewed: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    """Freed in the storage."""
    links: int = 0
    """Blobs that no longer belong to a repository, whether or not their bytes went."""
    uploads: int = 0
    """Uploads that nobody went on with."""
    empty: int = 0
    """Repositories of the storage with nothing in them that the index does not know either."""
    kept: dict[Kept, int] = {}
    repositories: list[RepositoryShare] = []
    """The first 200 by bytes."""
    at_least: bool = False
    """A worker was lost in the middle: what it had removed until then is not counted."""
    coming: Coming | None = None
    """Of a dry run: what is not due yet."""

    def plus(self, other: "GarbageReport") -> "GarbageReport":
        """Both together."""
        kept = {
            reason: self.kept.get(reason, 0) + other.kept.get(reason, 0)
            for reason in Kept
            if reason in self.kept or reason in other.kept
        }
        counts = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("reviewed", "manifests", "blobs", "bytes", "links", "uploads", "empty")
        }
        shares = _together([*self.repositories, *other.repositories])
        return GarbageReport(
            dry_run=self.dry_run,
            kept=kept,
            repositories=shares,
            at_least=self.at_least or other.at_least,
            coming=self.coming or other.coming,
            **counts,
        )

    @property
    def sentence(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        least = " at least" if self.at_least else ""
        text = f"{verb}{least} {_amount(self)}"
        if self.uploads:
            text += f", {self.uploads} old uploads"
        if self.coming is not None:
            text += f"; {_amount(self.coming)} more by {self.coming.by:%Y-%m-%d %H:%M} UTC"
        return text


def _amount(of: GarbageReport | Coming) -> str:
    return f"{of.manifests} manifests and {of.blobs} blobs, {of.bytes / 1024**2:.1f} MiB"


def _together(shares: list[RepositoryShare]) -> list[RepositoryShare]:
    found: dict[str, RepositoryShare] = {}
    for one in shares:
        known = found.get(one.repository, RepositoryShare(repository=one.repository))
        found[one.repository] = RepositoryShare(
            repository=one.repository,
            manifests=known.manifests + one.manifests,
            blobs=known.blobs + one.blobs,
            bytes=known.bytes + one.bytes,
        )
    ordered = sorted(found.values(), key=lambda one: (-one.bytes, one.repository))
    return ordered[:MAX_SHARES]


class GarbageRequest(Spec):
    """Input of ``RegistryGarbageCollection``."""

    dry_run: bool = False
    """Only say what would go now, and how many bytes that would free."""
    batch: Annotated[int, Field(ge=1, le=5_000)] = 500
    """Reviews between two looks at the pause and the rate."""
    per_second: PerSecond = 500.0
    """Most things looked at in a second."""
    so_far: GarbageReport = GarbageReport()
    """What earlier runs of the same collection did."""
    paused: bool = False
    """Wait for ``resume`` before anything."""
    cursor: str = ""
    """The repository where an earlier run of the same collection stopped to look for old uploads;
    nothing for people to give."""


class PauseRequest(Spec):
    """Why a collection waits or goes on, and who says so."""

    reason: Prose = ""
    by: Line = ""


class RateRequest(Spec):
    """How fast a collection may go from now on."""

    per_second: PerSecond


class GarbagePhase(StrEnum):
    """What a collection is at."""

    BEGIN = "begin"
    PLAN = "plan"
    REVIEWS = "reviews"
    LEFTOVERS = "leftovers"
    DONE = "done"


class GarbageStatus(Record):
    """Where a collection stands."""

    phase: GarbagePhase = GarbagePhase.BEGIN
    paused: bool = False
    reason: str = ""
    per_second: float = 0
    report: GarbageReport = GarbageReport()


class GarbageBatch(Record):
    """Reviews to do in one activity."""

    limit: int
    per_second: float
    cursor: str = ""
    """The repository that the last look for leftovers stopped at."""
    dry_run: bool = False


class BatchDone(Record):
    """What one activity did; ``more`` when there may be more to do at once."""

    report: GarbageReport
    more: bool
    cursor: str = ""


class GarbageQueue(Record):
    """What waits for a review."""

    due: int
    later: int
    next_at: Timestamp | None = None
    marked: int
    """Blobs that are about to be removed."""


class Adoption(StrEnum):
    """What happens to what somebody wrote to Distribution behind the gateway's back."""

    ADOPT = "adopt"
    ALARM = "alarm"
    """An event only, and the index's meaning of a tag is put back."""


class Difference(StrEnum):
    """How index and storage can differ."""

    UNKNOWN_TAG = "unknownTag"
    TAG_DIFFERS = "tagDiffers"
    ENDED_TAG = "endedTag"
    """The index ended the tag; Distribution cannot delete one and still has it."""
    MISSING_TAG = "missingTag"
    UNKNOWN_MANIFEST = "unknownManifest"
    MISSING_MANIFEST = "missingManifest"
    UNKNOWN_LINK = "unknownLink"
    """Distribution serves a blob in a repository that it does not belong to."""
    MISSING_LINK = "missingLink"
    MISSING_BLOB = "missingBlob"
    STRAY_BLOB = "strayBlob"


class Found(Record):
    """One difference, and what was done about it."""

    kind: Difference
    name: str
    """The tag or digest."""
    index: str = ""
    storage: str = ""
    done: str = ""


class ReconcileReport(Record):
    """Differences by kind; the first of them one by one."""

    repositories: int = 0
    blobs: int = 0
    counts: dict[Difference, int] = {}
    mended: int = 0
    examples: list[str] = []
    rest: str = ""
    """Where the comparison of one large repository goes on; empty when it has ended."""

    def plus(self, other: "ReconcileReport") -> "ReconcileReport":
        counts = {
            kind: self.counts.get(kind, 0) + other.counts.get(kind, 0)
            for kind in Difference
            if kind in self.counts or kind in other.counts
        }
        return ReconcileReport(
            repositories=self.repositories + other.repositories,
            blobs=self.blobs + other.blobs,
            counts=counts,
            mended=self.mended + other.mended,
            examples=[*self.examples, *other.examples][:MAX_EXAMPLES],
        )

    @property
    def told(self) -> int:
        """How many differences were only told of: they must not be mended, or cannot."""
        return sum(self.counts.values()) - self.mended

    @property
    def sentence(self) -> str:
        told = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"{self.repositories} repositories, {self.blobs} blobs: {told or 'no difference'}"


class ReconcileStage(StrEnum):
    """A reconciliation looks at repositories of the index, then of the storage, then at blobs."""

    INDEX = "index"
    STORAGE = "storage"
    BLOBS = "blobs"
    DONE = "done"


class ReconcileRequest(Spec):
    """Input of ``RegistryReconcile``."""

    repository: RepositoryName | None = None
    """Only this one; unset means all, and the blobs."""
    adoption: Adoption = Adoption.ADOPT
    settle_seconds: Annotated[float, Field(ge=0, le=86_400)] = 600
    """What was written within this time is left alone: a push may be under way."""
    stage: ReconcileStage = ReconcileStage.INDEX
    cursor: str = ""
    """Where an earlier run of the same reconciliation stopped."""
    so_far: ReconcileReport = ReconcileReport()


class NamesRequest(Record):
    """Asks for repositories of the index or of the storage."""

    stage: ReconcileStage
    after: str
    limit: int


class ReconcileOne(Record):
    """One repository, or the blobs of one prefix, to compare."""

    name: str
    adoption: Adoption
    settle_seconds: float
    rest: str = ""
    """Where an earlier look at the same repository stopped."""


class ScrubReport(Record):
    """What a scrub read."""

    blobs: int = 0
    bytes: int = 0
    broken: list[Digest] = []
    """The first 20 blobs and manifests whose bytes are missing or wrong."""
    broken_count: int = 0
    fetched: int = 0
    """Broken ones that were fetched again from a replica."""
    healed: int = 0
    """Ones that had been broken and are right now."""
    hurried: int = 0
    """Ones that were read faster than asked for, so that a reading ends within six hours."""
    manifests: int = 0
    mended: int = 0
    """Copies of manifests that were wrong in the index or at Distribution."""

    def plus(self, other: "ScrubReport") -> "ScrubReport":
        return ScrubReport(
            blobs=self.blobs + other.blobs,
            bytes=self.bytes + other.bytes,
            broken=[*self.broken, *other.broken][:MAX_EXAMPLES],
            broken_count=self.broken_count + other.broken_count,
            fetched=self.fetched + other.fetched,
            healed=self.healed + other.healed,
            hurried=self.hurried + other.hurried,
            manifests=self.manifests + other.manifests,
            mended=self.mended + other.mended,
        )

    @property
    def sentence(self) -> str:
        hurried = f", {self.hurried} faster than asked for" if self.hurried else ""
        return (
            f"{self.blobs} blobs and {self.manifests} manifests, "
            f"{self.bytes / 1024**2:.1f} MiB read{hurried}, {self.broken_count} broken, "
            f"{self.fetched} fetched again, {self.healed} healed, {self.mended} mended"
        )


class ScrubRequest(Spec):
    """Input of ``RegistryScrub``."""

    bytes_per_second: Annotated[Bytes, Field(ge=1024, examples=["20MiB"])] = ByteSize(20 * 1024**2)
    after: str = ""
    """The digest that an earlier run of the same scrub read last."""
    so_far: ScrubReport = ScrubReport()


class ScrubBatch(Record):
    """Blobs behind a digest, then manifests, to be read for some seconds."""

    after: str
    """A digest, or where an earlier batch stopped."""
    bytes_per_second: float
    seconds: float


class ScrubDone(Record):
    """What one activity read; ``cursor`` is None when there is nothing behind it."""

    report: ScrubReport
    cursor: str | None


class UpkeepKind(StrEnum):
    """What the registry does by itself."""

    GARBAGE = "gc"
    RECONCILE = "reconcile"
    SCRUB = "scrub"
    RETENTION = "retention"


class UpkeepRun(Record):
    """A run that has ended, for the events."""

    kind: UpkeepKind
    sentence: str
    report: dict[str, Any]


class UpkeepReport(Record):
    """What a run told when it ended."""

    at: Timestamp
    workflow_id: str
    sentence: str
    report: dict[str, Any]


class UpkeepSchedule(Spec):
    """How often the registry looks after itself; None for never.

    What is not named stays as it is; without anything named, what is missing is made.
    """

    gc_minutes: Annotated[int, Field(ge=1, le=44_640)] | None = 60
    reconcile_hours: Annotated[int, Field(ge=1, le=744)] | None = 24
    scrub_hours: Annotated[int, Field(ge=1, le=8_784)] | None = 168
    retention_hours: Annotated[int, Field(ge=1, le=720)] | None = None
    """Between reports of the tags that the policy's rules let go; each waits for ``apply`` until
    the next is due."""
    retention_apply: bool = False
    """Let these tags go without waiting for anybody."""
    adoption: Adoption = Adoption.ADOPT
    scrub_bytes_per_second: Annotated[Bytes, Field(ge=1024)] = ByteSize(20 * 1024**2)


class UpkeepEntry(Record):
    """One of the registry's schedules."""

    kind: UpkeepKind
    id: str
    paused: bool
    every_hours: float
    next: list[Timestamp]
    last: list[str]
    """Workflow ids of the last starts, the newest first."""


class GarbageOverview(Record):
    """What waits, what runs, and what the registry does by itself."""

    queue: GarbageQueue
    running: list[str]
    """Workflow ids of collections under way."""
    schedules: list[UpkeepEntry]

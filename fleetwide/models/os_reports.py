"""Answers about OS releases: what changed, what a build would do, which fixes exist, what goes."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Digest, Name, Record, Spec, Timestamp
from fleetwide.models.baseos import OSImageSpec, RetentionSpec, Target
from fleetwide.models.os_locks import LockedSource, LockRef
from fleetwide.models.texts import Line


class PackageChange(Record):
    """One package in both releases; None where it is not there."""

    name: str
    before: str | None
    after: str | None
    security: bool = False
    """What is there now comes from a security suite."""


class PackageDiff(Record):
    """All changes, each list ordered by name."""

    added: list[PackageChange]
    removed: list[PackageChange]
    upgraded: list[PackageChange]
    downgraded: list[PackageChange]
    replaced: list[PackageChange]
    """The same version with other bytes: an archive that keeps its word never does that."""

    @property
    def summary(self) -> str:
        """One line for people: ``3 upgraded (2 security), 1 added``."""
        named = {
            "upgraded": self.upgraded,
            "added": self.added,
            "removed": self.removed,
            "downgraded": self.downgraded,
            "replaced": self.replaced,
        }
        words = [_words(word, changes) for word, changes in named.items() if changes]
        return ", ".join(words) or "no change"


def _words(word: str, changes: list[PackageChange]) -> str:
    security = sum(change.security for change in changes)
    return f"{len(changes)} {word}" + (f" ({security} security)" if security else "")


class PlanPreview(Record):
    """Result of ``OSImagePlan``: what a build would do now."""

    spec: OSImageSpec
    """With every default filled in."""
    sources: list[LockedSource]
    lock: LockRef
    build_key: str
    package_count: int
    against: str | None = None
    """The release that the packages are compared with."""
    diff: PackageDiff
    summary: str
    unchanged: str | None = None
    """The release that has these very bytes already: a build would end as NO_CHANGE."""


class Fix(Record):
    """One installed package that a newer one repairs."""

    package: str
    source: str
    installed: str
    fixed_in: str
    cves: list[str]
    """Named by the changelog between the two versions; by year and number."""
    urgency: str | None = None
    """The highest that the changelog gives: low, medium, high, emergency or critical."""
    note: str = ""
    """What the list of CVEs lacks, when it lacks something."""


class FindingState(StrEnum):
    """What can be done about an issue."""

    FIXABLE = "fixable"
    """A newer version repairs it."""
    OPEN = "open"
    UNDETERMINED = "undetermined"
    """Nobody has found out yet whether the suite has it."""


class TrackerFinding(Record):
    """One issue of one installed package."""

    package: str
    source: str
    installed: str
    """Version of the source package."""
    cve: str
    """Or the tracker's temporary name (TEMP-...)."""
    state: FindingState
    fixed_in: str | None = None
    urgency: str = ""
    """The tracker's word, for example ``unimportant`` or ``not yet assigned``."""


class FixesRequest(Spec):
    """Input of ``OSFixesAvailable``: a release by its version or channel."""

    name: Name
    pointer: Annotated[Line, Field(max_length=100)] = "stable"


class FixesReport(Record):
    """Result of ``OSFixesAvailable``. It is no vulnerability scan: it knows of published fixes."""

    name: str
    version: str
    compared_with: list[str]
    """The suites whose newest packages the release was compared with."""
    checked_at: Timestamp
    fixes: list[Fix]
    findings: list[TrackerFinding] = []
    """What the security tracker's file says, where an operator supplies one."""
    tracker: str = ""
    """The tracker's file; empty where there is none."""


class ReproductionRequest(Spec):
    """Input of ``OSReproduction``: a release by its version or channel."""

    name: Name
    pointer: Annotated[Line, Field(max_length=100)] = "stable"


class RebuiltFace(Record):
    """One face of a release, built a second time and thrown away."""

    target: Target
    digest: Digest
    """Of the layer or of the raw disk."""
    seconds: float
    builder_versions: dict[str, str]
    """What it was built with."""


class FaceReproduction(Record):
    """The digest that was released beside the one that came out again."""

    target: Target
    released: Digest
    rebuilt: RebuiltFace

    @property
    def same(self) -> bool:
        return self.released == self.rebuilt.digest


class ReproductionReport(Record):
    """Result of ``OSReproduction``."""

    name: str
    version: str
    lock: Digest
    reproduced: bool
    """Every face has the same bytes again."""
    faces: list[FaceReproduction]
    checked_at: Timestamp

    @property
    def summary(self) -> str:
        """One line for people: ``container: the same bytes; vm: other bytes``."""
        words = {True: "the same bytes", False: "other bytes"}
        return "; ".join(f"{face.target}: {words[face.same]}" for face in self.faces)


class RetentionRequest(Spec):
    """Input of ``OSRetention``: one line and how much of it stays."""

    name: Name
    retention: RetentionSpec = RetentionSpec()
    dry_run: bool = False


class KeptRelease(Record):
    """Why a release stays although the policy would let it go."""

    version: str
    reasons: list[str]


class RetentionReport(Record):
    """Result of ``OSRetention``."""

    name: str
    retired: list[str]
    kept: list[KeptRelease]
    swept: list[str] = []
    """AMIs and snapshots that a build left behind which was cut off."""
    dry_run: bool = False

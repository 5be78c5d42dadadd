"""OS releases: what a build yields, how it was tested, where it was published, who may use it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Digest, Layer, Record, Spec, Timestamp
from fleetwide.models.baseos import (
    Architecture,
    BootMode,
    BuildPlan,
    Distribution,
    Target,
    Variant,
)
from fleetwide.models.os_locks import LockRef
from fleetwide.models.texts import Line, Prose


class Channel(StrEnum):
    """A named pointer to one release of a line."""

    CANDIDATE = "candidate"
    STABLE = "stable"
    PREVIOUS = "previous"


class ReleaseState(StrEnum):
    """Where a release stands."""

    BUILDING = "building"
    CANDIDATE = "candidate"
    STABLE = "stable"
    PREVIOUS = "previous"
    """Stable until the one that is stable now."""
    SUPERSEDED = "superseded"
    """Stable once, two or more promotions ago."""
    HELD = "held"
    """Kept from promotion by a person, until that person lets it go."""
    REVOKED = "revoked"
    """Must not be used any more."""
    RETIRED = "retired"
    """Removed by the retention policy."""
    WITHDRAWN = "withdrawn"
    FAILED = "failed"


class BuildOutcome(StrEnum):
    """Whether a build made a release or found that there is nothing new."""

    BUILT = "built"
    NO_CHANGE = "noChange"


class DiskImage(Record):
    """A bootable raw disk; its bytes lie compressed in the object store under ``key``."""

    digest: Digest
    """Digest of the raw bytes."""
    size: int
    """Raw bytes."""
    used: int
    """Bytes of 512 KiB blocks that are not all zero."""
    boot: BootMode
    architecture: Architecture
    key: str
    root_uuid: str = ""
    seconds: float = 0.0


class CheckResult(Record):
    """One thing that was checked, and what was found."""

    name: str
    passed: bool
    found: list[str] = []
    """What is wrong, one sentence each; empty when it passed."""


class StaticReport(Record):
    """The checks of a finished root file system."""

    checks: list[CheckResult]
    seconds: float

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


class BootReport(Record):
    """What the booted machine said about itself on its serial console."""

    passed: bool
    state: str
    """systemd's word, for example running or degraded."""
    checks: list[CheckResult] = []
    accelerator: str
    """``tcg`` (software) or ``kvm``."""
    boot: BootMode
    seconds: float
    """From power-on to the verdict."""
    console_key: str
    """The console's whole output, in the object store."""


class AmiImage(Record):
    """One AMI of a release."""

    region: str
    image_id: str
    snapshot_id: str
    name: str = ""


class Attachment(Record):
    """A document that refers to an image in the registry."""

    artifact_type: str
    digest: Digest
    """Digest of the manifest that refers to the image."""
    key: str
    """The document itself, in the object store."""


class RootFilesystem(Record):
    """A built root file system, pushed as a layer."""

    layer: Layer
    uncompressed_size: int
    packages: dict[str, str]
    """Installed package to version."""
    source_date_epoch: int
    report: StaticReport
    build_seconds: float


class BuiltImage(Record):
    """An image that lies in the registry; ``size`` is the compressed bytes of all layers."""

    repository: str
    digest: Digest
    size: int


class LockedPlan(Record):
    """A plan with its lock: the same one gives the same bytes."""

    plan: BuildPlan
    lock: LockRef
    build_key: str
    """Digest over all that decides about the bytes."""
    source_date_epoch: int = 0
    """Known once the packages are there."""


class BuiltDisk(Record):
    """A built VM image that lies in the object store."""

    disk: DiskImage
    packages: dict[str, str]
    """Installed package to version."""
    report: StaticReport
    build_seconds: float


class PromoteRequest(Spec):
    """Argument of the ``promote`` update."""

    channel: Channel = Channel.STABLE
    expected: Annotated[Line, Field(max_length=100)] | None = None
    """The version that the channel must point at now; unset means whichever it is."""
    emergency: bool = False
    """Skip what is left of the soak."""
    reason: Annotated[Prose, Field(max_length=500)] = ""
    by: Annotated[Line, Field(max_length=200)] = ""


class StandRequest(Spec):
    """Argument of the ``hold``, ``unhold``, ``revoke`` and ``retire`` updates."""

    reason: Annotated[Prose, Field(min_length=1, max_length=500)]
    by: Annotated[Line, Field(max_length=200)] = ""


class ChannelMove(Record):
    """One line of a channel's history."""

    channel: Channel
    version: str | None
    """None when the channel points nowhere any more."""
    before: str | None
    revision: int
    by: str = ""
    reason: str = ""
    at: Timestamp


class OSRelease(Record):
    """An operating system release; result of ``OSImageBuild``."""

    name: str
    version: str
    workflow_id: str
    outcome: BuildOutcome = BuildOutcome.BUILT
    state: ReleaseState
    reason: str = ""
    """Why it is held, revoked, retired or failed."""
    parent: str | None = None
    distribution: Distribution
    suite: str
    architecture: Architecture
    variant: Variant = Variant.MINBASE
    targets: list[Target] = [Target.CONTAINER]
    packages: list[str] = []
    """The packages that the spec asked for on top of the variant."""
    build_key: str = ""
    """Digest over all that decides about the bytes: the same key is never built twice."""
    lock: LockRef | None = None
    repository: str
    image_digest: Digest | None = None
    layer: Layer | None = None
    package_count: int = 0
    uncompressed_size: int = 0
    disk: DiskImage | None = None
    amis: list[AmiImage] = []
    static: dict[Target, StaticReport] = {}
    boot: BootReport | None = None
    attachments: list[Attachment] = []
    source_date_epoch: int = 0
    channels: list[Channel] = []
    created_at: Timestamp
    candidate_at: Timestamp | None = None
    promoted_at: Timestamp | None = None

    @property
    def reference(self) -> str:
        """``repository@digest`` in the platform's registry."""
        return f"{self.repository}@{self.image_digest}"


class BuildStatus(Record):
    """Answer of the ``status`` query of ``OSImageBuild``."""

    state: ReleaseState
    step: str
    release: OSRelease | None = None

"""Bakery: what the platform makes of a request, step by step, and the image that comes out."""

from enum import StrEnum

from fleetwide.models.bakery import BakeSpec
from fleetwide.models.base import Digest, Layer, Record, Sha256, Timestamp
from fleetwide.models.baseos import FileSpec, Target
from fleetwide.models.os_locks import LockRef
from fleetwide.models.os_releases import AmiImage, Attachment, BootReport, DiskImage
from fleetwide.models.os_steps import AmiSnapshot


class BakeState(StrEnum):
    """Where a bake stands."""

    PENDING = "pending"
    RESOLVING = "resolving"
    BUILDING = "building"
    TESTING = "testing"
    PUBLISHING = "publishing"
    DISTRIBUTING = "distributing"
    AVAILABLE = "available"
    CACHED = "cached"
    """It was baked before: that image is the answer."""
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({BakeState.AVAILABLE, BakeState.CACHED, BakeState.FAILED, BakeState.CANCELLED})


class BaseImage(Record):
    """A base resolved to exact bytes."""

    name: str
    version: str
    repository: str
    digest: Digest
    """Of the container base's manifest; of the disk where the release has no container base."""
    layer: Layer | None
    """None where the release has no container base."""
    distribution: str
    suite: str
    architecture: str
    created_epoch: int
    lock: LockRef | None = None
    disk: DiskImage | None = None
    """The VM face, where the release has one."""
    amis: list[AmiImage] = []
    sbom: Digest | None = None
    """The base's SPDX document, as it is attached to its image."""


class DependencyKind(StrEnum):
    """What kind of package an artifact needed."""

    DEB = "deb"
    WHEEL = "wheel"


class Dependency(Record):
    """One package that comes along because an artifact needs it; pinned."""

    kind: DependencyKind
    name: str
    version: str
    filename: str
    sha256: Sha256
    size: int = 0
    url: str


class AppliedRecipe(Record):
    """What a recipe adds beyond the fields of the spec, which it is merged into."""

    reference: str
    """``name:version``."""
    files: list[FileSpec] = []
    drop_setuid: bool = False


class ResolvedBake(Record):
    """A bake with nothing left open; ``cached`` is the image when it exists already."""

    spec: BakeSpec
    """With the recipe applied."""
    base: BaseImage
    request_key: Sha256
    """Over all that was asked for; the bake key where nothing had to be resolved."""
    bake_key: Sha256
    """Over all that decides about the bytes, dependencies included."""
    content_key: Sha256
    """The bake key's inputs without the base: equal ones can share layers."""
    repository: str
    recipe: AppliedRecipe | None = None
    pinned: bool = False
    """The dependencies are known: nothing is to be resolved any more."""
    dependencies: list[Dependency] = []
    cached: "BakedImage | None" = None
    known_digests: list[str] = []
    """Every manifest that the bake key has had, where an image is built though there is one."""
    missing: "MissingDistribution | None" = None
    """What the request names and the cached image has not got; None where it has all."""
    reusable: "ReusableLayer | None" = None


class MissingDistribution(Record):
    """What an image has not got yet of what a request says about AMIs."""

    regions: list[str] = []
    """To copy to, or to share in with more accounts and organisations."""
    tags: dict[str, str] = {}


class ReusableLayer(Record):
    """A layer that was baked onto another base and fits this one too."""

    bake_key: Sha256
    repository: str
    built: "BuiltLayer"


class Severity(StrEnum):
    """What a broken rule means."""

    WARN = "warn"
    REFUSE = "refuse"


class LintFinding(Record):
    """One rule that the image breaks: which, where, and how to mend it."""

    rule: str
    severity: Severity
    where: str
    message: str
    hint: str = ""


class SmokeReport(Record):
    """What came of starting the image."""

    passed: bool
    how: str
    """In words, for example ``its health check passed after 2 tries``."""
    exit_code: int | None = None
    seconds: float
    last_lines: list[str] = []


class BuiltLayer(Record):
    """A bake's own layer, which lies in the registry, and what is known about it."""

    layer: Layer
    uncompressed_size: int
    entries: int
    rebaseable: bool
    """It touches only the application's own folders, so it fits another base as it is."""
    python: str = ""
    """``3.11`` when the layer's folders depend on that version of the base's Python."""
    packages: dict[str, str] = {}
    """Packages that the layer adds, to their version."""
    findings: list[LintFinding] = []
    build_seconds: float


class BakedDisk(Record):
    """The VM face of a bake: the base's disk with the artifacts on it."""

    disk: DiskImage
    changed_bytes: int
    """Bytes of 512 KiB blocks that differ from the base's disk."""
    snapshot: AmiSnapshot | None = None
    """Made already where the bake happened on a volume; else the disk is still to be uploaded."""
    packages: dict[str, str] = {}
    """Packages that the disk has beyond the base's, to their version."""
    findings: list[LintFinding] = []
    boot: BootReport | None = None
    build_seconds: float


class PushedBake(Record):
    """The image as it lies in the registry; ``size`` is the compressed bytes of all layers."""

    digest: Digest
    size: int
    metadata: dict[str, str] = {}
    """Its annotations, which are its labels too."""


class DiskRequest(Record):
    """A bake and its disk: what is booted, and what an AMI is made of."""

    bake: ResolvedBake
    disk: BakedDisk


class WithdrawBake(Record):
    """A bake that came to nothing; ``built`` where its image may have been pushed by then."""

    bake: ResolvedBake
    built: BuiltLayer | None = None


class PinDependencies(Record):
    """What a builder resolved for a bake, on its way into the books."""

    bake: ResolvedBake
    dependencies: list[Dependency]


class LayerRequest(Record):
    """A bake and its own layer: what a smoke test starts, and what is pushed."""

    bake: ResolvedBake
    built: BuiltLayer


class RecordImage(Record):
    """A finished bake on its way into the inventory."""

    bake: ResolvedBake
    image: "BakedImage"


class PublishBake(Record):
    """What of a bake is to be published: a container's image, and the documents about all of it."""

    bake: ResolvedBake
    built: BuiltLayer | None = None
    disk: BakedDisk | None = None
    started_at: Timestamp
    finished_at: Timestamp
    """When the last thing was built; equal in every try, so that a retry writes equal documents."""


class DocumentBake(PublishBake):
    """What the documents of a bake tell about."""

    digest: Digest | None = None


class PublishedBake(Record):
    """What was published: ``pushed`` is None of a bake that is only a VM."""

    pushed: PushedBake | None = None
    attachments: list[Attachment] = []


class BakeBooking(Record):
    """Where one run of a bake stands, for the books."""

    bake: ResolvedBake
    state: BakeState
    stages: list["StageTime"]
    failure: "BakeFailure | None" = None


class StageTime(Record):
    """When a bake went through a stage."""

    stage: BakeState
    started_at: Timestamp
    ended_at: Timestamp | None = None


class BakeFailure(Record):
    """Why a bake came to nothing: the stage, a reason code, a sentence."""

    stage: BakeState
    reason: str
    """An ``ErrorCode``, or ``cancelled``."""
    message: str
    hint: str = ""
    retryable: bool = False


class RegionState(StrEnum):
    """Where the distribution to one region stands."""

    COPYING = "copying"
    AVAILABLE = "available"
    FAILED = "failed"


class RegionStatus(Record):
    """The image in one region."""

    region: str
    state: RegionState
    image_id: str = ""
    message: str = ""
    shared_with: list[str] = []
    """Accounts and organisations that may launch it."""


class BakedImage(Record):
    """A runnable image; result of ``Bake``."""

    name: str
    version: str
    bake_key: Sha256
    content_key: Sha256 = "0" * 64
    workflow_id: str
    repository: str
    digest: Digest | None
    """None when only a VM was baked."""
    targets: list[Target] = [Target.CONTAINER]
    architecture: str = "amd64"
    base_name: str
    base_version: str
    base_digest: Digest
    built: BuiltLayer | None = None
    """The bake's own layer; None when only a VM was baked."""
    size: int
    """Compressed bytes of all layers."""
    rebased_from: Sha256 | None = None
    """The bake whose layer this one took over."""
    recipe: str = ""
    dependencies: list[Dependency] = []
    metadata: dict[str, str] = {}
    """Annotations and labels, or AMI tags."""
    findings: list[LintFinding] = []
    smoke: SmokeReport | None = None
    disk: DiskImage | None = None
    boot: BootReport | None = None
    amis: list[AmiImage] = []
    regions: list[RegionStatus] = []
    ami_tags: dict[str, str] = {}
    """Tags that requests gave the AMIs, beside the platform's and the labels."""
    attachments: list[Attachment] = []
    build_seconds: float
    created_at: Timestamp

    @property
    def reference(self) -> str:
        """``repository@digest`` in the platform's registry."""
        return f"{self.repository}@{self.digest}"


class BakeStatus(Record):
    """Answer of the ``status`` query of ``Bake``."""

    state: BakeState
    bake_key: Sha256 | None = None
    base: BaseImage | None = None
    stages: list[StageTime] = []
    regions: list[RegionStatus] = []
    failure: BakeFailure | None = None
    image: BakedImage | None = None

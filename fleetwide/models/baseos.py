"""BaseOS: the spec of an operating system release and what a build of it yields."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from fleetwide.models.base import Digest, Name, Record, Spec, Timestamp

PACKAGE_PATTERN = r"^[a-z0-9][a-z0-9+.-]{1,127}$"
VERSION_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z.+~-]{0,62}$"

Version = Annotated[str, Field(pattern=VERSION_PATTERN, examples=["20261122.1"])]


class Distribution(StrEnum):
    """The distributions that BaseOS builds."""

    DEBIAN = "debian"
    UBUNTU = "ubuntu"


class Architecture(StrEnum):
    """Debian's names of the architectures that a release can be built for."""

    AMD64 = "amd64"
    ARM64 = "arm64"


class Variant(StrEnum):
    """How much of the distribution goes in, in mmdebstrap's terms."""

    ESSENTIAL = "essential"
    APT = "apt"
    MINBASE = "minbase"
    IMPORTANT = "important"


class Channel(StrEnum):
    """A named pointer to one release of a line."""

    CANDIDATE = "candidate"
    STABLE = "stable"


class ReleaseState(StrEnum):
    """What became of a release."""

    BUILDING = "building"
    CANDIDATE = "candidate"
    STABLE = "stable"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"


class OSImageSpec(Spec):
    """Input of the ``OSImageBuild`` workflow: one operating system release."""

    name: Name
    """The line of releases, for example ``baseos``."""
    version: Version | None = None
    """Unset means today's date and a running number, for example 20261122.1."""
    distribution: Distribution = Distribution.DEBIAN
    suite: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,31}$", examples=["bookworm"])]
    architecture: Architecture = Architecture.AMD64
    variant: Variant = Variant.MINBASE
    components: list[Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]] = ["main"]
    mirror: Annotated[str, Field(pattern=r"^https?://[^\s\"'\[\]]+$")] | None = None
    """Package mirror; unset means the builder's setting, else mmdebstrap's own for the suite."""
    keyring: Annotated[str, Field(pattern=r"^/usr/share/keyrings/[A-Za-z0-9._-]+$")] | None = None
    """Keyring file on the builder that signs the mirror; unset means the distribution's own."""
    packages: list[Annotated[str, Field(pattern=PACKAGE_PATTERN)]] = []
    """Packages on top of the variant."""
    source_date_epoch: Annotated[int, Field(ge=0, le=4_102_444_800)] | None = None
    """Seconds since 1970 that every file time is clamped to; unset means the build day's start."""
    owner: str = Field(default="", max_length=200)
    promotion_window_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long the release stays open for promotion as a candidate."""

    @field_validator("packages", "components")
    @classmethod
    def _no_repeats(cls, value: list[str]) -> list[str]:
        repeated = sorted({item for item in value if value.count(item) > 1})
        if repeated:
            raise ValueError(f"repeats {', '.join(repeated)}")
        return value


class BuildPlan(Record):
    """A spec with every default filled in: the same plan gives the same bytes."""

    workflow_id: str
    spec: OSImageSpec
    name: str
    version: str
    source_date_epoch: int
    repository: str
    tag: str


class Layer(Record):
    """One compressed layer that lies in the registry."""

    digest: Digest
    """Digest of the compressed bytes."""
    diff_id: Digest
    """Digest of the uncompressed tar."""
    size: int
    """Compressed bytes."""


class RootFilesystem(Record):
    """A built root file system, pushed as a layer."""

    layer: Layer
    uncompressed_size: int
    packages: dict[str, str]
    """Installed package to version."""
    build_seconds: float


class PublishImage(Record):
    """What an image is published from: its plan and its one layer."""

    plan: BuildPlan
    layer: Layer


class BuiltImage(Record):
    """An image that lies in the registry; ``size`` is the compressed bytes of all layers."""

    repository: str
    digest: Digest
    size: int


class BuildStatus(Record):
    """Answer of the ``status`` query of ``OSImageBuild``."""

    state: ReleaseState
    step: str
    release: "OSRelease | None" = None


class PromoteRequest(Spec):
    """Argument of the ``promote`` update."""

    channel: Channel = Channel.STABLE


class OSRelease(Record):
    """An operating system release; result of ``OSImageBuild``."""

    name: str
    version: str
    workflow_id: str
    state: ReleaseState
    distribution: Distribution
    suite: str
    architecture: Architecture
    variant: Variant = Variant.MINBASE
    packages: list[str] = []
    """The packages that the spec asked for on top of the variant."""
    repository: str
    image_digest: Digest | None = None
    layer: Layer | None = None
    package_count: int = 0
    uncompressed_size: int = 0
    source_date_epoch: int = 0
    channels: list[Channel] = []
    created_at: Timestamp
    promoted_at: Timestamp | None = None

    @property
    def reference(self) -> str:
        """``repository@digest`` in the platform's registry."""
        return f"{self.repository}@{self.image_digest}"

"""Bakery: what is baked onto which base, and the image that comes out."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from fleetwide.models.base import Digest, Layer, Name, Record, Sha256, Spec, Timestamp
from fleetwide.models.baseos import Version

MAX_ARTIFACT_BYTES = 2 * 1024**3


class ArtifactType(StrEnum):
    """The kinds of deployment artifact."""

    DEB = "deb"
    TARBALL = "tarball"
    WHEEL = "wheel"


def artifact_key(sha256: str) -> str:
    """Where an uploaded artifact's bytes lie in the object store."""
    return f"artifacts/sha256/{sha256}"


class Artifact(Spec):
    """One deployment artifact, always pinned by its digest."""

    type: ArtifactType
    sha256: Sha256
    """SHA-256 of the file."""
    filename: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}$")]
    """The file's own name; a wheel's carries its tags."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
    """Where to fetch it; unset means that it was uploaded (``fleetwide artifact upload``)."""


class BakeSpec(Spec):
    """Input of the ``Bake`` workflow: artifacts onto a base, as a runnable image."""

    name: Name
    version: Version
    artifacts: Annotated[list[Artifact], Field(min_length=1, max_length=50)]
    base: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9._-]{0,62})(:[0-9A-Za-z][0-9A-Za-z.+~-]{0,62}|@sha256:[0-9a-f]{64})$",
            examples=["baseos:stable"],
        ),
    ]
    """An OS line with a channel, a version or a digest."""
    entrypoint: list[str] = []
    command: list[str] = []
    env: dict[str, str] = {}
    user: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}(:[a-z0-9_-]{1,32})?$")] = "65534:65534"
    """User and group that the workload runs as; the default is nobody."""
    workdir: Annotated[str, Field(pattern=r"^/[^\s]*$")] = "/"
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = []
    owner: str = Field(default="", max_length=200)
    labels: dict[str, str] = {}
    """Further OCI labels; those of the platform cannot be set."""

    @field_validator("labels")
    @classmethod
    def _labels_are_theirs(cls, value: dict[str, str]) -> dict[str, str]:
        reserved = sorted(k for k in value if k.startswith(("org.opencontainers.", "fleetwide.")))
        if reserved:
            raise ValueError(f"{', '.join(reserved)}: set by the platform")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "BakeSpec":
        kinds = {artifact.type for artifact in self.artifacts}
        if len(kinds) > 1:
            raise ValueError(f"artifacts must be of one type, not {', '.join(sorted(kinds))}")
        if len(self.artifacts) > 1 and ArtifactType.TARBALL in kinds:
            raise ValueError("artifacts: one tarball at a time")
        return self


class BaseImage(Record):
    """A base resolved to exact bytes."""

    name: str
    version: str
    repository: str
    digest: Digest
    layer: Layer
    distribution: str
    suite: str
    architecture: str
    created_epoch: int


class ResolvedBake(Record):
    """A bake with nothing left open; ``cached`` is the image when it exists already."""

    spec: BakeSpec
    base: BaseImage
    bake_key: Sha256
    repository: str
    cached: "BakedImage | None" = None


class BuiltBake(Record):
    """What a builder made of a resolved bake; ``size`` is the compressed bytes of all layers."""

    digest: Digest
    app_layer: Layer
    size: int
    build_seconds: float


class RecordImage(Record):
    """A finished bake on its way into the inventory."""

    bake: ResolvedBake
    built: BuiltBake


class BakeStatus(Record):
    """Answer of the ``status`` query of ``Bake``."""

    step: str
    bake_key: Sha256 | None = None
    base: BaseImage | None = None
    image: "BakedImage | None" = None


class BakedImage(Record):
    """A runnable image; result of ``Bake``."""

    name: str
    version: str
    bake_key: Sha256
    workflow_id: str
    repository: str
    digest: Digest
    base_name: str
    base_version: str
    base_digest: Digest
    app_layer: Layer
    size: int
    """Compressed bytes of all layers."""
    build_seconds: float
    created_at: Timestamp

    @property
    def reference(self) -> str:
        """``repository@digest`` in the platform's registry."""
        return f"{self.repository}@{self.digest}"

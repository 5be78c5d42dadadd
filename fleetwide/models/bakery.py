"""Bakery: what people ask to have baked onto which base."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from fleetwide.models.base import Bytes, Name, Sha256, Spec
from fleetwide.models.baseos import (
    WORKDIR_PATTERN,
    AmiSpec,
    ImagePath,
    Package,
    Target,
    Version,
)
from fleetwide.models.texts import Line, Prose, Word

MIB = 1024**2
MAX_ARTIFACT_BYTES = 2 * 1024**3
MAX_COMMAND_BYTES = 16 * 1024
RECIPE_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,62})(:[1-9][0-9]{0,6})?$"
REPOSITORY_PATTERN = r"^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$"
BASE_PATTERN = (
    r"^[a-z0-9]([a-z0-9._-]{0,62})(:[0-9A-Za-z][0-9A-Za-z.+~-]{0,62}|@sha256:[0-9a-f]{64})$"
)
WEB_PATTERN = r"^https?://[^\s\x00-\x1f\x7f-\x9f@]+$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


class ArtifactType(StrEnum):
    """The kinds of deployment artifact."""

    DEB = "deb"
    TARBALL = "tarball"
    ZIP = "zip"
    WHEEL = "wheel"
    SDIST = "sdist"
    BINARY = "binary"
    IMAGE = "image"
    """The layers of an OCI image in the platform's registry, as payload."""


# What may stand side by side in one bake; the others come alone.
COMPANIONS: tuple[frozenset[ArtifactType], ...] = (
    frozenset({ArtifactType.DEB}),
    frozenset({ArtifactType.WHEEL, ArtifactType.SDIST}),
    frozenset({ArtifactType.BINARY}),
)


def artifact_key(sha256: str) -> str:
    """Where an uploaded artifact's bytes lie in the object store."""
    return f"artifacts/sha256/{sha256}"


class Artifact(Spec):
    """One deployment artifact, always pinned by its digest."""

    type: ArtifactType
    sha256: Sha256
    """SHA-256 of the file; of the manifest for an image."""
    filename: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}$")]
    """The file's own name; a wheel's carries its tags, a binary's is the program's."""
    url: Annotated[str, Field(pattern=WEB_PATTERN)] | None = None
    """Where to fetch it; without ``url`` and ``object_key`` it was uploaded."""
    object_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@+=:/-]{1,1000}$")] | None = None
    """Where it lies in the platform's object store."""
    repository: Annotated[str, Field(pattern=REPOSITORY_PATTERN)] | None = None
    """Of an image: its repository in the platform's registry."""

    @model_validator(mode="after")
    def _one_place(self) -> "Artifact":
        if self.url is not None and self.object_key is not None:
            raise ValueError("needs either url or object_key, not both")
        if (self.type is ArtifactType.IMAGE) != (self.repository is not None):
            raise ValueError("repository is for images, which need one")
        return self


class HealthCheck(Spec):
    """A command that says with exit code 0 that the workload is well."""

    command: Annotated[list[Word], Field(min_length=1)]
    interval_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    timeout_seconds: Annotated[float, Field(ge=1, le=3600)] = 5
    retries: Annotated[int, Field(ge=1, le=100)] = 3
    start_period_seconds: Annotated[float, Field(ge=0, le=3600)] = 10


class SmokeSpec(Spec):
    """How the image proves, before anyone sees it, that it starts."""

    enabled: bool = True
    command: list[Word] = []
    """The artifact's own check: must end with exit code 0. Unset: the workload itself is started,
    and must become healthy, or run for a moment, or end with exit code 0."""
    timeout_seconds: Annotated[float, Field(ge=1, le=900)] = 60
    writable: bool = False
    """Let it write to its root; the default is what the platform's containers get."""


class RebaseRequest(Spec):
    """The OS release that an image moves to."""

    base: Annotated[str, Field(pattern=BASE_PATTERN, examples=["baseos:stable"])]


class BuildInfo(Spec):
    """Where the artifacts came from; metadata, which no byte of a layer depends on."""

    job: Annotated[Line, Field(max_length=200)] = ""
    number: Annotated[Line, Field(max_length=40)] = ""
    commit: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{0,64}$")] = ""
    url: Annotated[str, Field(pattern=rf"{WEB_PATTERN}|^$", max_length=1000)] = ""
    host: Annotated[Line, Field(max_length=253)] = ""


class BakeAmiSpec(AmiSpec):
    """Where the VM image is published as an AMI, and who may launch it."""

    boot_test: bool = False
    """Boot the image for real before it is published."""


class BakeSpec(Spec):
    """Input of the ``Bake`` workflow: artifacts onto a base, as a runnable image."""

    name: Name
    version: Version
    artifacts: Annotated[list[Artifact], Field(min_length=1, max_length=50)]
    base: Annotated[
        str,
        Field(pattern=BASE_PATTERN, examples=["baseos:stable"]),
    ]
    """An OS line with a channel, a version or a digest."""
    targets: Annotated[list[Target], Field(min_length=1)] = [Target.CONTAINER]
    recipe: Annotated[str, Field(pattern=RECIPE_PATTERN, examples=["python-service:3"])] | None = (
        None
    )
    """A recipe and its version; without a version the newest."""
    parameters: dict[str, str] = {}
    """Values for the recipe's parameters."""
    packages: list[Package] = []
    """Distribution packages beside the artifacts, from the archives of the base's lock."""
    entrypoint: list[Word] = []
    command: list[Word] = []
    env: dict[Annotated[str, Field(pattern=ENV_NAME)], Word] = {}
    user: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}(:[a-z0-9_-]{1,32})?$")] = "65534:65534"
    """User and group that the workload runs as; the default is nobody."""
    workdir: Annotated[str, Field(pattern=WORKDIR_PATTERN)] = "/"
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = []
    volumes: list[ImagePath] = []
    """Folders that the workload writes to while its root is read-only."""
    healthcheck: HealthCheck | None = None
    init: bool = False
    """Put an init before the entry point that reaps children and passes signals on."""
    smoke: SmokeSpec = SmokeSpec()
    max_size: Annotated[Bytes, Field(ge=MIB)] | None = None
    """Compressed bytes of all layers; the policy's limit holds besides."""
    ami: BakeAmiSpec | None = None
    owner: Line = Field(default="", max_length=200)
    build: BuildInfo = BuildInfo()
    labels: dict[str, Prose] = {}
    """Further OCI labels and AMI tags; those of the platform cannot be set."""
    rebake: bool = False
    """Bake even what was baked before."""
    refresh: bool = False
    """Resolve dependencies anew instead of taking those of the same bake before."""

    @field_validator("labels")
    @classmethod
    def _labels_are_theirs(cls, value: dict[str, str]) -> dict[str, str]:
        reserved = sorted(k for k in value if k.startswith(("org.opencontainers.", "fleetwide.")))
        if reserved:
            raise ValueError(f"{', '.join(reserved)}: set by the platform")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "BakeSpec":
        kinds = frozenset(artifact.type for artifact in self.artifacts)
        if len(self.artifacts) > 1 and not any(kinds <= group for group in COMPANIONS):
            raise ValueError(
                f"artifacts: {', '.join(sorted(kinds))} cannot be baked together; several debs, "
                "several wheels and sdists, or several binaries can"
            )
        if self.parameters and self.recipe is None:
            raise ValueError("parameters: are a recipe's, and no recipe is named")
        if self.ami is not None and Target.VM not in self.targets:
            raise ValueError("ami: needs the target vm")
        if Target.VM in self.targets and ArtifactType.IMAGE in kinds:
            raise ValueError("artifacts: an image is a payload of containers, not of a vm")
        words = [*self.entrypoint, *self.command]
        if sum(len(word.encode()) + 1 for word in words) > MAX_COMMAND_BYTES:
            raise ValueError(f"entrypoint and command: more than {MAX_COMMAND_BYTES} bytes")
        return self

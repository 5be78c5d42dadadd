"""The registry's other regions and its upstreams, and what is said of copies there."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, HttpUrl, field_validator, model_validator

from fleetwide.models.base import Digest, Name, Record, Spec, Timestamp
from fleetwide.models.registry_policy import SomePatterns
from fleetwide.models.texts import Line

MAX_REGIONS = 100
UPSTREAM = "upstream"
"""No region may be called so: copies that come from an upstream are booked under this name."""

Repository = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$",
        examples=["apps/hello"],
    ),
]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class RegistryLogin(Spec):
    """An account at another registry; the secret itself stands in a file or in the environment."""

    username: Annotated[Line, Field(min_length=1, max_length=200)]
    password_file: Path | None = None
    password_env: Variable | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "RegistryLogin":
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("must have either password_file or password_env")
        return self


class OtherRegistry(Spec):
    """Where another registry is, and who this one is there."""

    url: HttpUrl
    """Its front door, without a path."""
    login: RegistryLogin | None = None

    @field_validator("url")
    @classmethod
    def _bare(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password or url.query or url.path not in (None, "/"):
            raise ValueError("must be scheme, host and port alone")
        return url

    @property
    def address(self) -> str:
        """The base URL."""
        return str(self.url).rstrip("/")


class ReplicationRule(Spec):
    """Which images are copied where, as they are pushed."""

    repositories: SomePatterns
    regions: Annotated[list[Name], Field(min_length=1, max_length=MAX_REGIONS)]


class Upstream(OtherRegistry):
    """A registry whose images are fetched when they are first asked for."""

    repository: Annotated[str, Field(max_length=200)] = ""
    """What stands before a repository's name there; ``library`` for Docker Hub's own images."""
    tag_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = 300
    """How long a tag is believed to mean what it meant; digests always mean the same."""


class RegistryRegions(Spec):
    """What a registry knows of others; without a file it stands alone."""

    region: Name = "local"
    """This region's name."""
    regions: Annotated[dict[Name, OtherRegistry], Field(max_length=MAX_REGIONS)] = {}
    rules: Annotated[list[ReplicationRule], Field(max_length=200)] = []
    """Every rule that speaks of a repository adds its regions."""
    upstreams: Annotated[dict[Repository, Upstream], Field(max_length=MAX_REGIONS)] = {}
    """By the first part of the names under which their repositories are seen here."""

    @model_validator(mode="after")
    def _consistent(self) -> "RegistryRegions":
        if UPSTREAM in (self.region, *self.regions):
            raise ValueError(f"no region may be called {UPSTREAM}")
        if self.region in self.regions:
            raise ValueError(f"{self.region} is this region itself and not one of the others")
        named = {name for rule in self.rules for name in rule.regions}
        if unknown := sorted(named - set(self.regions)):
            raise ValueError(f"a rule names {unknown[0]}, which is not among the regions")
        return self

    @field_validator("upstreams")
    @classmethod
    def _apart(cls, upstreams: dict[str, Upstream]) -> dict[str, Upstream]:
        for one in upstreams:
            inside = next((two for two in upstreams if two.startswith(f"{one}/")), None)
            if inside is not None:
                raise ValueError(f"{inside} lies inside {one}: which upstream has it is not clear")
        return upstreams


class ReplicateImage(Spec):
    """Input of ``ImageReplication``: one manifest, with all that belongs to it, to one region."""

    repository: Repository
    digest: Digest
    region: Name

    @property
    def workflow_id(self) -> str:
        return f"replicate/{self.region}/{self.repository}@{self.digest}"


class ReplicaRequest(Spec):
    """Copy an image to regions now, whatever the rules say."""

    reference: Annotated[Line, Field(max_length=400, examples=["apps/hello:1.0.0"])]
    regions: Annotated[list[Name], Field(max_length=MAX_REGIONS)] = []
    """Empty means every region that a rule names for the repository."""


class Blob(Record):
    """A blob to be copied."""

    digest: Digest
    size: int
    """In bytes."""
    mount_from: str | None = None
    """A repository of the region that has it already."""


class FindMissing(Record):
    """Ask which blobs a region lacks, from behind a digest on."""

    image: ReplicateImage
    after: str = ""


class MissingBlobs(Record):
    """Some of what a region lacks, in the order of digests; ``more`` when that is not all."""

    blobs: list[Blob] = []
    total: int = 0
    """Blobs of the image, also those that the region has."""
    after: str = ""
    more: bool = False


class CopyBlob(Record):
    """Copy one blob of an image to its region."""

    image: ReplicateImage
    blob: Blob


class CopiedBlob(Record):
    """How a blob came to its region."""

    sent: int = 0
    """Bytes that travelled; 0 for one that was there or was mounted."""


class CopiedManifests(Record):
    """What a region had been told of an image when its copy was whole."""

    manifests: int = 0
    sent: int = 0
    """Manifests that the region did not have."""


class ReplicaOutcome(Record):
    """What a replication did."""

    repository: str
    digest: Digest
    region: str
    blobs: int = 0
    """Blobs that were copied or mounted."""
    bytes_sent: int = 0
    manifests: int = 0
    tags: list[str] = []
    """Tags that mean the image in the region because of this."""


class ReplicaFailure(Record):
    """Book that a copy could not be made."""

    image: ReplicateImage
    message: str


class FollowPushes(Record):
    """Go on from an event of the outbox."""

    cursor: int | None = None
    """None to begin with what there is: the newest event."""
    after: str = ""
    """Where a look through the whole index goes on."""


class Followed(Record):
    """Where the next look begins, and what this one started."""

    cursor: int = 0
    started: int = 0
    after: str = ""
    """Not empty while the look through the index is not done."""


class SweepState(Record):
    """Input of ``RegistryReplicationSweep``, and what it goes on with."""

    cursor: int | None = None
    compared_at: Timestamp | None = None
    """When the whole index was looked through last."""
    comparing_since: Timestamp | None = None
    """When the look through the index began that is not done yet."""
    after: str = ""
    """Where that one goes on."""


class ReplicaDocument(Record):
    """A copy of an image in a region, as the API tells it."""

    repository: str
    digest: Digest
    region: str
    state: str
    """``copying``, ``present``, ``failed`` or ``absent``."""
    message: str = ""
    updated_at: Timestamp | None = None
    checked: bool = False
    """Whether the region itself was asked."""
    links: dict[str, str] = {}

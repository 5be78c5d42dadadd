"""What the API tells of the registry, and what it is told."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Bytes, Record, Spec, Timestamp
from fleetwide.models.texts import Line, Prose

MAX_REFERENCES = 500
MAX_REFERENCE_LENGTH = 400


class Repository(Record):
    """One repository of the registry."""

    name: str
    owner: str = ""
    """Who pushed first."""
    tags: int = 0
    manifests: int = 0
    size: int = 0
    """Bytes of its blobs, each counted once."""
    created_at: Timestamp | None = None


class TagDocument(Record):
    """A tag of a repository, and the image that it means."""

    name: str
    reference: str
    digest: str = ""
    media_type: str = ""
    size: int = 0
    """Bytes of the image's config and layers."""
    by: str = ""
    """Who set the tag."""
    pushed_at: Timestamp | None = None
    pulls: int = 0
    """How often the image was pulled, by whatever name."""
    last_pulled_at: Timestamp | None = None
    immutable: str | None = None
    """The rule that keeps the tag's meaning."""


class TagMoment(Record):
    """What a tag meant from one moment to another; without an end, what it means now."""

    tag: str
    digest: str
    by: str = ""
    started_at: Timestamp
    ended_at: Timestamp | None = None
    ended_by: str = ""
    present: bool = True
    """Whether the image is still there, so that the tag can mean it again."""


class LayerDocument(Record):
    """A blob of an image, and how many others use it."""

    digest: str
    media_type: str = ""
    size: int
    images: int = 1
    """Images of all repositories that have it, with this one."""
    repositories: int = 1


class PullerDocument(Record):
    """An account that pulled an image; ``anonymous`` is whoever had none."""

    name: str
    pulls: int
    last_pulled_at: Timestamp


class ManifestDocument(Record):
    """An image, an index of images, or a document that refers to one."""

    repository: str
    digest: str
    media_type: str
    artifact_type: str = ""
    state: str = "live"
    """``live``, or ``broken`` where something of it was lost."""
    manifest_size: int
    size: int
    """Bytes of config and layers."""
    shared: int = 0
    """Bytes of it that other images have too, which are therefore stored and sent only once."""
    tags: list[str] = []
    subject: str | None = None
    annotations: dict[str, str] = {}
    pushed_by: str = ""
    pushed_at: Timestamp
    pulls: int = 0
    last_pulled_at: Timestamp | None = None
    pulled_by: list[PullerDocument] = []
    """Up to 20 accounts, those that pulled it most often first."""
    layers: list[LayerDocument] = []
    children: list[str] = []
    """Digests that an index lists."""
    referrers: int = 0
    """Documents that refer to it, such as signatures and SBOMs."""
    in_use: list[str] = []
    """What needs it: tasks, jobs, OS releases, baked images."""


class ResolvedReference(Record):
    """What a reference means right now."""

    reference: str
    digest: str
    pinned: str


class ReferenceAnswer(Record):
    """One answer of many: a digest, or why there is none."""

    reference: str
    digest: str | None = None
    pinned: str | None = None
    code: str | None = None
    """``ImageNotFound``, ``Denied``, ``InvalidInput``, or ``RegistryUnavailable``: ask again."""
    detail: str = ""


class ResolveRequest(Spec):
    """References to pin."""

    references: Annotated[
        list[Annotated[str, Field(max_length=MAX_REFERENCE_LENGTH)]],
        Field(min_length=1, max_length=MAX_REFERENCES),
    ]


class ResolvedReferences(Record):
    """An answer per reference, in the order of the request."""

    items: list[ReferenceAnswer]


class UsageBy(StrEnum):
    """What usage is summed up by."""

    NAMESPACE = "namespace"
    OWNER = "owner"


class Usage(Record):
    """What the repositories of a namespace or an owner hold."""

    name: str
    repositories: int
    tags: int
    manifests: int
    size: int
    """Bytes; what two repositories share counts in both."""
    quota: int | None = None
    """Bytes that a namespace may hold; None for no limit."""
    owner: str = ""


class UsageReport(Record):
    """A page of usage, with the sums over all that its reader may pull."""

    items: list[Usage]
    next: str | None = None
    size: int
    """Bytes of all repositories together, what they share counted in each."""
    stored: int | None = None
    """Bytes that lie in storage, each blob once; only for who may pull everything."""


class NamespaceSettings(Spec):
    """What is set for a namespace; it goes before the policy file."""

    quota: Annotated[Bytes, Field(ge=1, examples=["100GiB"])] | None = None
    """Bytes that its repositories may hold; None for no limit."""
    owner: Line = ""


class NamespaceDocument(Record):
    """A namespace and its quota."""

    name: str
    quota: int | None = None
    """Bytes; None for no limit."""
    set_by: str
    """``settings``, ``policy`` or ``nobody``."""
    owner: str = ""
    used: int
    updated_at: Timestamp | None = None


class UndoRequest(Spec):
    """Let a tag mean again what it meant before."""

    to: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """One of the digests that it has meant; unset means the last one before now."""
    by: Line = ""
    reason: Prose = ""


class DeletionRequest(Spec):
    """Input of ``RepositoryDeletion``: remove a repository with all that is in it."""

    repository: Annotated[str, Field(min_length=1, max_length=255, examples=["apps/hello"])]
    force: bool = False
    """Also where something that runs needs one of its images."""
    by: Line = ""
    reason: Prose = ""


class Removed(Record):
    """What of a repository is gone."""

    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    """Blobs that no longer belong to it; their bytes go when they are collected."""

    @property
    def sentence(self) -> str:
        return f"{self.tags} tags, {self.manifests} manifests and {self.blobs} blobs are gone"


class DeletionStep(Record):
    """One step of a deletion; ``removed`` is what earlier steps did."""

    repository: str
    by: str = ""
    reason: str = ""
    removed: Removed = Removed()


class DeletionResult(Record):
    """Result of ``RepositoryDeletion``, and what its query tells meanwhile."""

    repository: str
    removed: Removed = Removed()
    finished: bool = False

"""The registry's index in SQL: names, tags, manifests and what they refer to.

Blobs lie in Docker Distribution; here is only who may see which of them. Names, tags and digests
are compared byte by byte (collation "C" on PostgreSQL), or pages would come in another order than
the specification's.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, String, UniqueConstraint, text
from sqlmodel import JSON, Field, SQLModel

from fleetwide.store.tables import BigId, UtcDateTime

Bytewise = String().with_variant(String(collation="C"), "postgresql")
"""Text in the order of its bytes, as SQLite compares anyway."""


def _time(**options: Any) -> Any:
    return Field(sa_type=UtcDateTime, **options)


def _name(**options: Any) -> Any:
    return Field(sa_type=Bytewise, **options)


class RepositoryRow(SQLModel, table=True):
    """A repository; its counters are kept by the transactions that change what they count."""

    __tablename__: ClassVar[Any] = "registry_repository"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    name: str = _name(unique=True)
    owner: str = ""
    """Who pushed first."""
    tags: int = 0
    manifests: int = 0
    size: int = Field(default=0, sa_type=BigInteger)
    """Bytes of the blobs that belong to it, each counted once."""
    manifest_bytes: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}
    )
    """Bytes of the manifests themselves, which lie in the storage, too."""
    created_at: datetime = _time()
    deleting_since: datetime | None = _time(default=None)
    """Set while it is being deleted; it is not listed and takes no push any more."""


class BlobRow(SQLModel, table=True):
    """A blob in Distribution's storage, whoever it belongs to."""

    __tablename__: ClassVar[Any] = "registry_blob"

    digest: str = _name(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    state: str = "live"
    """``live``, ``deleting`` (garbage collection is about to remove it), ``broken``."""
    version: int = 1
    """Raised by whoever touches the blob; garbage collection changes only what it has judged."""
    touched_at: datetime = _time()
    created_at: datetime = _time()


class RepositoryBlobRow(SQLModel, table=True):
    """A blob belongs to a repository; only then it can be read there."""

    __tablename__: ClassVar[Any] = "registry_repository_blob"
    __table_args__ = (Index("ix_registry_repository_blob_digest", "digest"),)

    repository_id: int = Field(
        primary_key=True, sa_type=BigId, foreign_key="registry_repository.id"
    )
    digest: str = _name(primary_key=True)
    lease_until: datetime = _time()
    """Until then it stays although no manifest refers to it: its manifest may be on the way."""
    created_at: datetime = _time()


class ManifestRow(SQLModel, table=True):
    """A manifest of a repository, with its exact bytes."""

    __tablename__: ClassVar[Any] = "registry_manifest"
    __table_args__ = (
        Index("ix_registry_manifest_subject", "repository_id", "subject", "digest"),
        Index(
            "ix_registry_manifest_subject_type",
            "repository_id",
            "subject",
            "artifact_type",
            "digest",
            sqlite_where=text("subject IS NOT NULL"),
            postgresql_where=text("subject IS NOT NULL"),
        ),
        Index("ix_registry_manifest_digest", "digest"),
    )

    repository_id: int = Field(
        primary_key=True, sa_type=BigId, foreign_key="registry_repository.id"
    )
    digest: str = _name(primary_key=True)
    media_type: str
    data: bytes = Field(sa_type=LargeBinary)
    size: int
    content_size: int = Field(default=0, sa_type=BigInteger)
    """Bytes of its config and layers."""
    subject: str | None = _name(default=None)
    artifact_type: str = ""
    annotations: dict[str, str] = Field(sa_type=JSON, default_factory=dict)
    state: str = "live"
    """``live``, or ``broken`` when Distribution has lost it or something that it refers to."""
    pushed_by: str = ""
    pushed_at: datetime = _time()
    touched_at: datetime = _time()
    """When it was last pushed, tagged or untagged."""
    pulls: int = Field(default=0, sa_type=BigInteger)
    last_pulled_at: datetime | None = _time(default=None)


class PullerRow(SQLModel, table=True):
    """Who pulled a manifest, and how often."""

    __tablename__: ClassVar[Any] = "registry_puller"

    repository_id: int = Field(
        primary_key=True, sa_type=BigId, foreign_key="registry_repository.id"
    )
    digest: str = _name(primary_key=True)
    name: str = _name(primary_key=True)
    """Of the account; ``anonymous`` for whoever had none."""
    pulls: int = Field(sa_type=BigInteger)
    last_pulled_at: datetime = _time()


class ManifestChildRow(SQLModel, table=True):
    """An index refers to a manifest."""

    __tablename__: ClassVar[Any] = "registry_manifest_child"
    __table_args__ = (Index("ix_registry_manifest_child_child", "repository_id", "child"),)

    repository_id: int = Field(
        primary_key=True, sa_type=BigId, foreign_key="registry_repository.id"
    )
    parent: str = _name(primary_key=True)
    child: str = _name(primary_key=True)


class ManifestBlobRow(SQLModel, table=True):
    """A manifest refers to a blob."""

    __tablename__: ClassVar[Any] = "registry_manifest_blob"
    __table_args__ = (
        Index("ix_registry_manifest_blob_blob", "blob"),
        Index("ix_registry_manifest_blob_repository", "repository_id", "blob"),
    )

    repository_id: int = Field(
        primary_key=True, sa_type=BigId, foreign_key="registry_repository.id"
    )
    manifest: str = _name(primary_key=True)
    blob: str = _name(primary_key=True)


class TagRow(SQLModel, table=True):
    """What a tag meant from one moment to another; without an end, what it means now."""

    __tablename__: ClassVar[Any] = "registry_tag"
    __table_args__ = (
        Index(
            "uq_registry_tag_live",
            "repository_id",
            "name",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index(
            "ix_registry_tag_digest",
            "repository_id",
            "digest",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        # Apart from the live ones: of some manifests very many tags have ended.
        Index(
            "ix_registry_tag_ended",
            "repository_id",
            "digest",
            sqlite_where=text("ended_at IS NOT NULL"),
            postgresql_where=text("ended_at IS NOT NULL"),
        ),
        Index("ix_registry_tag_history", "repository_id", "name", "started_at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    repository_id: int = Field(sa_type=BigId, foreign_key="registry_repository.id")
    name: str = _name()
    digest: str = _name()
    by: str = ""
    started_at: datetime = _time()
    ended_at: datetime | None = _time(default=None)
    ended_by: str = ""


class ReviewRow(SQLModel, table=True):
    """Something that may have become garbage, and when it is looked at."""

    __tablename__: ClassVar[Any] = "registry_review"
    __table_args__ = (
        UniqueConstraint("kind", "repository_id", "digest"),
        Index("ix_registry_review_due", "review_after", "id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    kind: str
    """``blob`` and ``manifest`` are judged; ``link`` (of a blob that no longer belongs to the
    repository) and ``revision`` (of a manifest that is gone) are decided, and left to be removed
    from Distribution's storage."""
    repository_id: int = Field(default=0, sa_type=BigId)
    """0 for a blob, which is of no repository."""
    digest: str = _name()
    cause: str
    """What happened: ``uploaded``, ``untagged``, ``unreferenced``, ``deleted``, ``decided``."""
    tries: int = 0
    review_after: datetime = _time()


class RetentionTagRow(SQLModel, table=True):
    """A tag that goes by the report of a retention, as it was judged."""

    __tablename__: ClassVar[Any] = "registry_retention_tag"
    __table_args__ = (Index("ix_registry_retention_tag_judged", "judged_at"),)

    run: str = Field(primary_key=True)
    repository_id: int = Field(primary_key=True, sa_type=BigId)
    name: str = _name(primary_key=True)
    digest: str = _name()
    pushed_at: datetime = _time()
    ended: bool = False
    """By the report's application."""
    judged_at: datetime = _time()


class RegistryAccountRow(SQLModel, table=True):
    """A robot account; ``grants`` are the models' ``Grant``."""

    __tablename__: ClassVar[Any] = "registry_account"

    name: str = _name(primary_key=True)
    secret_hash: str
    grants: list[dict[str, Any]] = Field(sa_type=JSON, default_factory=list)
    description: str = ""
    created_by: str = ""
    created_at: datetime = _time()
    expires_at: datetime | None = _time(default=None)
    disabled_at: datetime | None = _time(default=None)
    last_used_at: datetime | None = _time(default=None)


class NamespaceRow(SQLModel, table=True):
    """What an organisation set for a namespace, the first part of its repositories' names."""

    __tablename__: ClassVar[Any] = "registry_namespace"

    name: str = _name(primary_key=True)
    quota: int | None = Field(default=None, sa_type=BigInteger)
    """Bytes that its repositories may hold together; None for no limit."""
    owner: str = ""
    updated_at: datetime = _time()


class ReplicaRow(SQLModel, table=True):
    """Whether a digest of a repository lies in another region."""

    __tablename__: ClassVar[Any] = "registry_replica"

    repository: str = _name(primary_key=True)
    digest: str = _name(primary_key=True)
    region: str = Field(primary_key=True)
    state: str
    """``copying``, ``present``, ``failed``."""
    message: str = ""
    workflow_id: str = ""
    updated_at: datetime = _time()


class PreheatRightRow(SQLModel, table=True):
    """A host may pull a repository while a pre-heat brings an image of it there."""

    __tablename__: ClassVar[Any] = "registry_preheat_right"
    __table_args__ = (
        Index("ix_registry_preheat_right_host", "host_id"),
        Index("ix_registry_preheat_right_until", "until"),
    )

    workflow_id: str = Field(primary_key=True)
    host_id: str = Field(primary_key=True)
    repository: str = _name()
    until: datetime = _time()
    """The pre-heat takes its rights away at its end; this ends those of one that was killed."""

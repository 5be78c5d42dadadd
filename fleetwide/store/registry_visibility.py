"""What people ask of the index: tags with their images, layers and who shares them, sizes.

The bytes of manifests are never loaded here but where one image is looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleetwide.registry.references import ImageReference
from fleetwide.store.registry_repositories import AFTER_ALL, shown_by
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestRow,
    RepositoryRow,
    TagRow,
)

_HELD = col(RepositoryRow.size) + col(RepositoryRow.manifest_bytes)
"""Bytes that a repository holds: blobs and manifests."""


@dataclass(frozen=True)
class TaggedImage:
    """A live tag and what is known of its image."""

    name: str
    digest: str
    by: str
    started_at: datetime
    media_type: str
    size: int
    pulls: int
    last_pulled_at: datetime | None


@dataclass(frozen=True)
class SharedBlob:
    """A blob of an image: its bytes, and by how many images of how many repositories it is used."""

    digest: str
    size: int
    images: int
    repositories: int


@dataclass(frozen=True)
class Sums:
    """What some repositories hold together."""

    name: str
    repositories: int
    tags: int
    manifests: int
    size: int


def tagged_images(
    session: Session,
    repository_id: int,
    *,
    after: str = "",
    prefix: str = "",
    before: datetime | None = None,
    limit: int,
) -> list[TaggedImage]:
    """Live tags by name from behind ``after``; with ``before`` only those that were set by then."""
    query = (
        select(
            TagRow.name,
            TagRow.digest,
            TagRow.by,
            TagRow.started_at,
            ManifestRow.media_type,
            ManifestRow.content_size,
            ManifestRow.pulls,
            ManifestRow.last_pulled_at,
        )  # type: ignore[call-overload]
        .join(
            ManifestRow,
            (col(ManifestRow.repository_id) == TagRow.repository_id)
            & (col(ManifestRow.digest) == TagRow.digest),
        )
        .where(TagRow.repository_id == repository_id, col(TagRow.ended_at).is_(None))
        .where(TagRow.name > after)
    )
    if prefix:
        query = query.where(TagRow.name >= prefix, TagRow.name < prefix + AFTER_ALL)
    if before is not None:
        query = query.where(col(TagRow.started_at) <= before)
    rows = session.exec(query.order_by(col(TagRow.name)).limit(limit))
    return [TaggedImage(*row) for row in rows]


def resolve(session: Session, references: Iterable[ImageReference]) -> dict[ImageReference, str]:
    """The digests that references mean now; one that the index does not know is left out."""
    by_repository: dict[str, list[ImageReference]] = defaultdict(list)
    for reference in references:
        by_repository[reference.repository].append(reference)
    names = col(RepositoryRow.name)
    query = select(RepositoryRow.id, RepositoryRow.name).where(
        names.in_(by_repository), col(RepositoryRow.deleting_since).is_(None)
    )
    found: dict[ImageReference, str] = {}
    for repository_id, name in session.exec(query).all():
        assert repository_id is not None
        found |= _resolve_in(session, repository_id, by_repository[name])
    return found


def _resolve_in(
    session: Session, repository_id: int, references: Sequence[ImageReference]
) -> dict[ImageReference, str]:
    tags = {one.tag for one in references if one.digest is None}
    digests = {one.digest for one in references if one.digest is not None}
    named: dict[str | None, str] = {}
    if tags:
        query = select(TagRow.name, TagRow.digest).where(
            TagRow.repository_id == repository_id,
            col(TagRow.ended_at).is_(None),
            col(TagRow.name).in_(tags),
        )
        named |= dict(session.exec(query).all())
    if digests:
        known = select(ManifestRow.digest).where(
            ManifestRow.repository_id == repository_id, col(ManifestRow.digest).in_(digests)
        )
        named |= {digest: digest for digest in session.exec(known)}
    return {one: named[one.selector] for one in references if one.selector in named}


def shared_blobs(session: Session, repository_id: int, manifest: str) -> list[SharedBlob]:
    """The blobs of an image, and how many images of the whole registry have each."""
    mine = select(ManifestBlobRow.blob).where(
        ManifestBlobRow.repository_id == repository_id, ManifestBlobRow.manifest == manifest
    )
    query = (
        select(
            ManifestBlobRow.blob,
            BlobRow.size,
            func.count(),
            func.count(func.distinct(ManifestBlobRow.repository_id)),
        )
        .join(BlobRow, col(BlobRow.digest) == ManifestBlobRow.blob)
        .where(col(ManifestBlobRow.blob).in_(mine))
        .group_by(col(ManifestBlobRow.blob), col(BlobRow.size))
    )
    return [SharedBlob(*row) for row in session.exec(query)]


def usage(
    session: Session,
    *,
    by_owner: bool = False,
    after: str = "",
    name: str = "",
    limit: int,
    prefixes: Sequence[str] | None = None,
) -> list[Sums]:
    """Sums per namespace or owner, by name from behind ``after``; with ``name`` only that one.

    Repositories count that ``prefixes`` speak of, as ``shown_by`` reads them.
    """
    part: Any = col(RepositoryRow.owner) if by_owner else _namespace(session)
    row = RepositoryRow
    sums = (func.count(), func.sum(row.tags), func.sum(row.manifests), func.sum(_HELD))
    query = select(part, *sums).where(shown_by(prefixes)).group_by(part)  # type: ignore[call-overload]
    if after:
        query = query.where(part > after)
    if name:
        query = query.where(part == name)
    rows = session.exec(query.order_by(part).limit(limit))
    return [Sums(text, *(int(number) for number in numbers)) for text, *numbers in rows]


def _namespace(session: Session) -> Any:
    """The first part of a repository's name, in the database's own words."""
    name = col(RepositoryRow.name)
    if session.get_bind().dialect.name == "postgresql":
        return func.split_part(name, "/", 1).collate("C")
    return func.substr(name, 1, func.instr(name.concat("/"), "/") - 1)


def held_bytes(session: Session, prefixes: Sequence[str] | None = None) -> int:
    """Bytes of the repositories that ``prefixes`` speak of, what they share counted in each."""
    query = select(func.coalesce(func.sum(_HELD), 0)).where(shown_by(prefixes))
    return int(session.exec(query).one())


def stored_bytes(session: Session) -> int:
    """Bytes that lie in storage, each blob once."""
    return int(session.exec(select(func.coalesce(func.sum(BlobRow.size), 0))).one())


def present(session: Session, repository_id: int, digests: Iterable[str]) -> set[str]:
    """Those of ``digests`` that are manifests of the repository."""
    query = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id, col(ManifestRow.digest).in_(set(digests))
    )
    return set(session.exec(query))


def count_referrers(session: Session, repository_id: int, digest: str) -> int:
    """How many manifests have this one as their subject."""
    query = select(func.count()).where(
        ManifestRow.repository_id == repository_id, ManifestRow.subject == digest
    )
    return session.exec(query).one()

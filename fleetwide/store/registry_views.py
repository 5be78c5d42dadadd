"""The index as reconciliation and scrub see it, and what they write there."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, select

from fleetwide.registry.reconcile import IndexView, Meaning
from fleetwide.store.registry_blobs import DELETING
from fleetwide.store.registry_facts import chunks
from fleetwide.store.registry_gc import LINK, REVISION
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
    TagRow,
)


@dataclass(frozen=True)
class Stretch:
    """Names or digests that lie behind one, up to another; None for the end of all."""

    after: str = ""
    last: str | None = None

    def holds(self, column: Mapped[str]) -> ColumnElement[bool]:
        """The condition that ``column`` lies there."""
        behind = column > self.after
        return behind if self.last is None else behind & (column <= self.last)


def tags_in(
    session: Session, repository: RepositoryRow, stretch: Stretch, stored: Iterable[str]
) -> IndexView:
    """Tags as the index has them; of ended ones only those that the storage has."""
    number = id_of(repository)
    live = select(TagRow.name, TagRow.digest, TagRow.started_at).where(
        TagRow.repository_id == number,
        col(TagRow.ended_at).is_(None),
        stretch.holds(col(TagRow.name)),
    )
    tags = {name: Meaning(digest, since) for name, digest, since in session.exec(live)}
    return IndexView(tags=tags, ended=_ended(session, number, set(stored) - set(tags)))


def manifests_in(session: Session, repository: RepositoryRow, stretch: Stretch) -> IndexView:
    """Manifests as the index has them."""
    query = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository.id, stretch.holds(col(ManifestRow.digest))
    )
    return IndexView(manifests=frozenset(session.exec(query)))


def blobs_in(session: Session, repository: RepositoryRow, stretch: Stretch) -> IndexView:
    """Blobs that belong to the repository."""
    query = select(RepositoryBlobRow.digest).where(
        RepositoryBlobRow.repository_id == repository.id,
        stretch.holds(col(RepositoryBlobRow.digest)),
    )
    return IndexView(blobs=frozenset(session.exec(query)))


def _ended(session: Session, number: int, names: Collection[str]) -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    for chunk in chunks(names):
        query = (
            select(TagRow.name, TagRow.digest, col(TagRow.ended_at))
            .where(TagRow.repository_id == number, col(TagRow.name).in_(chunk))
            .order_by(col(TagRow.started_at), col(TagRow.id))
        )
        for name, digest, ended_at in session.exec(query):
            if ended_at is not None:
                found[name] = Meaning(digest, ended_at)
    return found


def is_going(session: Session, kind: str, repository_id: int, digest: str) -> bool:
    """Whether a link of the storage is about to be removed (``LINK`` or ``REVISION``)."""
    assert kind in (LINK, REVISION)
    query = select(ReviewRow.id).where(
        ReviewRow.kind == kind,
        ReviewRow.repository_id == repository_id,
        ReviewRow.digest == digest,
    )
    return session.exec(query).first() is not None


@dataclass(frozen=True)
class IndexedBlob:
    """A blob that the storage should have."""

    digest: str
    size: int
    state: str


def blobs_after(session: Session, after: str, limit: int) -> list[IndexedBlob]:
    """Blobs by digest from behind ``after``, without those that are about to go."""
    query = select(BlobRow.digest, BlobRow.size, BlobRow.state).where(
        BlobRow.digest > after, BlobRow.state != DELETING
    )
    rows = session.exec(query.order_by(col(BlobRow.digest)).limit(limit))
    return [IndexedBlob(*row) for row in rows]


def blobs_between(session: Session, first: str, behind: str) -> list[IndexedBlob]:
    """Blobs whose digests lie from ``first`` on and before ``behind``."""
    query = select(BlobRow.digest, BlobRow.size, BlobRow.state).where(
        BlobRow.digest >= first, BlobRow.digest < behind
    )
    return [IndexedBlob(*row) for row in session.exec(query)]


def manifests_between(session: Session, first: str, behind: str) -> set[str]:
    query = select(ManifestRow.digest).where(
        ManifestRow.digest >= first, ManifestRow.digest < behind
    )
    return set(session.exec(query))

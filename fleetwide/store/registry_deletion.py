"""The end of a repository, in batches that can be done again."""

from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.registry.names import check_repository
from fleetwide.store import registry_blobs, registry_tags
from fleetwide.store.registry_removal import remove_manifests
from fleetwide.store.registry_repositories import id_of, lock, told
from fleetwide.store.registry_reviews import MANIFEST
from fleetwide.store.registry_tables import (
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
    TagRow,
)


def find_any(session: Session, name: str) -> RepositoryRow | None:
    """The repository, also while it is being deleted."""
    query = select(RepositoryRow).where(RepositoryRow.name == check_repository(name))
    return session.exec(query).first()


def mark(session: Session, name: str, *, by: str, now: datetime) -> RepositoryRow:
    """Let nobody see the repository, pull from it or push to it any more; again changes nothing.

    Raises:
        NotFound: there is no such repository.
    """
    row = find_any(session, name)
    if row is None:
        raise NotFound(f"there is no repository {name}", hint="fleetwide registry list")
    row = lock(session, row)
    if row.deleting_since is None:
        row.deleting_since = now
        session.add(row)
        message = f"{name} is being deleted"
        told(session, name, "repository-deleting", message, at=now, by=by)
    return row


def unmark(session: Session, name: str, message: str, *, by: str, now: datetime) -> None:
    """Let the repository be used again, with what is left of it."""
    row = find_any(session, name)
    if row is None or row.deleting_since is None:
        return
    row = lock(session, row)
    row.deleting_since = None
    session.add(row)
    told(session, name, "repository-deletion-stopped", message, at=now, by=by)


def digests_page(session: Session, repository_id: int, *, after: str, limit: int) -> list[str]:
    """Digests of the repository's manifests, in order from behind ``after``."""
    query = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id, ManifestRow.digest > after
    )
    return list(session.exec(query.order_by(col(ManifestRow.digest)).limit(limit)))


def end_tags(session: Session, name: str, limit: int, *, by: str, now: datetime) -> int:
    """End up to ``limit`` tags; how many there were."""
    row = lock(session, _deleting(session, name))
    tags = registry_tags.page(session, id_of(row), limit=limit)
    registry_tags.end_all(session, row, tags, by=by, now=now)
    return len(tags)


def delete_manifests(session: Session, name: str, limit: int, *, by: str, now: datetime) -> int:
    """Delete up to ``limit`` manifests; how many there were."""
    row = _deleting(session, name)
    digests = digests_page(session, id_of(row), after="", limit=limit)
    remove_manifests(session, row, digests, by=by, now=now)
    return len(digests)


def drop_blobs(session: Session, name: str, limit: int, *, now: datetime) -> int:
    """Take up to ``limit`` blobs from the repository, for review; how many there were."""
    row = _deleting(session, name)
    query = select(RepositoryBlobRow.digest).where(RepositoryBlobRow.repository_id == row.id)
    digests = list(session.exec(query.order_by(col(RepositoryBlobRow.digest)).limit(limit)))
    for digest in digests:
        registry_blobs.remove_membership(session, row, digest, now=now)
    return len(digests)


def forget_history(session: Session, name: str, limit: int) -> int:
    """Delete up to ``limit`` ended intervals of tags; how many there were."""
    row = _deleting(session, name)
    query = select(TagRow.id).where(TagRow.repository_id == row.id).limit(limit)
    ids = list(session.exec(query))
    session.exec(delete(TagRow).where(col(TagRow.id).in_(ids)))
    return len(ids)


def finish(session: Session, name: str, *, by: str, now: datetime) -> None:
    """Delete the row of a repository that has nothing any more; again changes nothing."""
    row = find_any(session, name)
    if row is None:
        return
    row = lock(session, _deleting(session, name))
    left = select(func.count()).where(ManifestRow.repository_id == row.id)
    if session.exec(left).one():
        raise Conflict(f"{name} has manifests still")
    reviews = delete(ReviewRow).where(
        col(ReviewRow.kind) == MANIFEST, col(ReviewRow.repository_id) == row.id
    )
    session.exec(reviews)
    session.delete(row)
    told(session, name, "repository-deleted", f"{name} was deleted", at=now, by=by)


def _deleting(session: Session, name: str) -> RepositoryRow:
    """The repository, which must have been marked.

    Raises:
        NotFound: it is gone.
        Conflict: it is in use again.
    """
    row = find_any(session, name)
    if row is None:
        raise NotFound(f"there is no repository {name}")
    if row.deleting_since is None:
        raise Conflict(f"{name} is not being deleted")
    return row

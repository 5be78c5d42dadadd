"""The end of manifests: with their tags and references, in a few statements for any number."""

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session, col, delete, select

from fleetwide.store import registry_pulls as pulls
from fleetwide.store import registry_reviews as reviews
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_repositories import id_of, lock, told
from fleetwide.store.registry_tables import (
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryRow,
)


def remove_manifests(
    session: Session, repository: RepositoryRow, digests: Iterable[str], *, by: str, now: datetime
) -> dict[str, int]:
    """Remove manifests and their tags; the bytes of each that there was, by its digest.

    An index that refers to one stays, and is sparse from then on. What they referred to, what has
    one as its subject, and their own bytes in the storage are put up for review.
    """
    repository = lock(session, repository)
    ordered = sorted(set(digests))
    sizes: dict[str, int] = {}
    for start in range(0, len(ordered), reviews.BATCH):
        part = ordered[start : start + reviews.BATCH]
        sizes |= _remove(session, repository, part, by=by, now=now)
    return sizes


def _remove(
    session: Session, repository: RepositoryRow, digests: list[str], *, by: str, now: datetime
) -> dict[str, int]:
    number = id_of(repository)
    known = (col(ManifestRow.repository_id) == number, col(ManifestRow.digest).in_(digests))
    # In one order, as everybody locks manifests.
    query = select(ManifestRow.digest, ManifestRow.size).where(*known)
    query = query.order_by(col(ManifestRow.digest)).with_for_update()
    sizes = dict(session.exec(query).all())
    gone = list(sizes)
    if not gone:
        return {}
    live = tags.of_manifests(session, number, gone)
    tags.end_all(session, repository, live, by=by, now=now)
    _review_what_they_held(session, number, gone, now)
    session.exec(delete(ManifestRow).where(*known))
    repository.manifests -= len(gone)
    repository.manifest_bytes -= sum(sizes.values())
    session.add(repository)
    session.flush()
    pulls.forget(session, number, gone)
    for digest in gone:
        message, data = f"{digest} was deleted", {"digest": digest, "by": by}
        told(session, repository.name, "manifest-deleted", message, at=now, **data)
    reviews.track(session, sizes, now=now)
    return sizes


def _review_what_they_held(
    session: Session, number: int, digests: list[str], now: datetime
) -> None:
    of_blobs = (
        col(ManifestBlobRow.repository_id) == number,
        col(ManifestBlobRow.manifest).in_(digests),
    )
    of_children = (
        col(ManifestChildRow.repository_id) == number,
        col(ManifestChildRow.parent).in_(digests),
    )
    held = session.exec(select(ManifestBlobRow.blob).where(*of_blobs).distinct()).all()
    children = session.exec(select(ManifestChildRow.child).where(*of_children)).all()
    referring = session.exec(
        select(ManifestRow.digest).where(
            ManifestRow.repository_id == number, col(ManifestRow.subject).in_(digests)
        )
    ).all()
    session.exec(delete(ManifestBlobRow).where(*of_blobs))
    session.exec(delete(ManifestChildRow).where(*of_children))
    cause = "unreferenced"
    reviews.enqueue(session, reviews.BLOB, reviews.NO_REPOSITORY, held, cause, now=now)
    left = [*children, *referring]
    reviews.enqueue(session, reviews.MANIFEST, number, left, cause, now=now)

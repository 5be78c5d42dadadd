"""What a collection has decided, carried out in the storage while the index holds still."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, tuple_
from sqlmodel import Session, col, delete, select

from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_blobs import DELETING
from fleetwide.store.registry_facts import chunks
from fleetwide.store.registry_gc import LINK
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
)

_FORGET = delete(ReviewRow).where(
    col(ReviewRow.kind) == bindparam("of_kind"),
    col(ReviewRow.repository_id) == bindparam("of_repository"),
    col(ReviewRow.digest) == bindparam("of_digest"),
)


@dataclass(frozen=True)
class Hands:
    """What removes from the storage; each may be called again for what is gone."""

    unlink: Callable[[str, str], None]
    """A blob's link of a repository."""
    remove: Callable[[str], None]
    """A blob's bytes."""


def finish_blobs(session: Session, digests: Collection[str], hands: Hands) -> dict[str, int]:
    """Remove marked blobs from the storage and then from the index; the bytes of those that went.

    Their rows are held meanwhile: who wants such a blob waits, and then finds it gone. All is
    removed from the outside inwards (links, bytes, rows), so that wherever a kill falls, the rest
    can be removed again. Links of repositories that it was taken from earlier go in any case.
    """
    query = select(BlobRow.digest, BlobRow.size, BlobRow.state)
    query = query.where(col(BlobRow.digest).in_(digests)).order_by(col(BlobRow.digest))
    held = session.exec(query.with_for_update()).all()
    members = _members(session, digests)
    done = list[tuple[str, int, str]]()
    for number, digest, name in _links(session, digests):
        if name is not None and (number, digest) not in members:
            hands.unlink(name, digest)
        done.append((LINK, number, digest))
    sizes = {digest: size for digest, size, state in held if state == DELETING}
    for digest in sizes:
        hands.remove(digest)
        done.append((reviews.BLOB, reviews.NO_REPOSITORY, digest))
    if sizes:
        session.exec(delete(BlobRow).where(col(BlobRow.digest).in_(list(sizes))))
    _forget(session, done)
    return sizes


def _members(session: Session, digests: Collection[str]) -> set[tuple[int, str]]:
    query = select(RepositoryBlobRow.repository_id, RepositoryBlobRow.digest).where(
        col(RepositoryBlobRow.digest).in_(digests)
    )
    return {(number, digest) for number, digest in session.exec(query)}


def _links(session: Session, digests: Collection[str]) -> list[tuple[int, str, str | None]]:
    """Repository's id, digest and repository's name of the links that are to go."""
    query = (
        select(ReviewRow.repository_id, ReviewRow.digest, RepositoryRow.name)
        .join(RepositoryRow, col(RepositoryRow.id) == col(ReviewRow.repository_id), isouter=True)
        .where(ReviewRow.kind == LINK, col(ReviewRow.digest).in_(digests))
    )
    return [(number, digest, name) for number, digest, name in session.exec(query)]


def _forget(session: Session, done: list[tuple[str, int, str]]) -> None:
    """Take reviews off the queue, in the order in which everybody writes them."""
    rows: list[dict[str, Any]] = [
        {"of_kind": kind, "of_repository": number, "of_digest": digest}
        for kind, number, digest in sorted(done)
    ]
    if rows:
        session.connection().execute(_FORGET, rows)


@dataclass(frozen=True)
class Revision:
    """A manifest whose link at Distribution is to be brought in line with the index."""

    repository: str
    data: bytes | None
    """Its bytes where the index has it; None where it is to go."""


def revisions(session: Session, rows: Sequence[ReviewRow]) -> list[Revision | None]:
    """What the storage should have by each review; None when the repository is gone with all."""
    wanted = [(row.repository_id, row.digest) for row in rows]
    numbers = {number for number, _ in wanted}
    of_names = select(RepositoryRow.id, RepositoryRow.name)
    of_names = of_names.where(col(RepositoryRow.id).in_(numbers))
    names = dict(session.exec(of_names).all())
    key = tuple_(col(ManifestRow.repository_id), col(ManifestRow.digest))
    query = select(ManifestRow.repository_id, ManifestRow.digest, ManifestRow.data)
    known = {(row[0], row[1]): row[2] for row in session.exec(query.where(key.in_(wanted)))}
    return [Revision(names[one[0]], known.get(one)) if one[0] in names else None for one in wanted]


def manifests_among(session: Session, digests: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Those of ``digests`` that are manifests of any repository, with their bytes."""
    for chunk in chunks(digests):
        query = select(ManifestRow.digest, ManifestRow.data)
        found = dict(session.exec(query.where(col(ManifestRow.digest).in_(chunk))).all())
        yield from found.items()

"""Garbage collection in the index: what goes is decided and written in one transaction.

A manifest goes while its repository is locked, a blob while its own row is: nobody can come to
need it in between. The storage follows afterwards, by reviews that the same transaction writes:
a collection that is killed leaves nothing that the next one does not finish.

Reviews are read without locks and taken off the queue only as they were read: who pushes holds a
repository and then writes reviews, so a collection must not hold reviews and ask for repositories.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, delete, select, update

from fleetwide.models.registry_gc import GarbageQueue, Kept
from fleetwide.registry.garbage import Verdict, judge_blob, judge_manifest
from fleetwide.store import registry_facts as facts
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_blobs import DELETING, LIVE
from fleetwide.store.registry_repositories import lock
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
)
from fleetwide.store.upserts import add_new

LINK = "link"
"""A blob that no longer belongs to a repository, whose link Distribution still has."""
REVISION = "revision"
"""A manifest that the index no longer has, whose link Distribution may still have."""
WHO = "garbage collection"


@dataclass
class Outcome:
    """What one transaction decided."""

    kept: list[Kept] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    """Manifests that are gone from the index, or blobs that are marked."""
    unlinked: list[tuple[str, str, int]] = field(default_factory=list)
    """Repository, digest and bytes of blobs that no longer belong to it."""


def due(session: Session, now: datetime, limit: int) -> list[ReviewRow]:
    """What is to be looked at by now, the longest waiting first."""
    query = select(ReviewRow).where(ReviewRow.review_after <= now)
    query = query.order_by(col(ReviewRow.review_after), col(ReviewRow.id)).limit(limit)
    return list(session.exec(query))


def queue(session: Session, now: datetime) -> GarbageQueue:
    """How much waits for a review."""
    ready = session.exec(select(func.count()).where(col(ReviewRow.review_after) <= now)).one()
    total = session.exec(select(func.count()).select_from(ReviewRow)).one()
    first = session.exec(select(func.min(ReviewRow.review_after))).one()
    marked = session.exec(select(func.count()).where(col(BlobRow.state) == DELETING)).one()
    return GarbageQueue(due=ready, later=total - ready, next_at=first, marked=marked)


def collect_manifests(
    session: Session, repository_id: int, rows: Sequence[ReviewRow], *, now: datetime
) -> Outcome:
    """Judge manifests of one repository, and take those from the index that nobody needs."""
    outcome = Outcome()
    # In one order, as everybody locks manifests, and blobs.
    rows = sorted(rows, key=lambda row: row.digest)
    repository = _locked(session, repository_id)
    known = facts.of_manifests(session, repository_id, [row.digest for row in rows])
    for row in rows:
        if repository is None or row.digest not in known:
            outcome.kept.append(Kept.GONE)
            settle(session, row, None)
            continue
        verdict = judge_manifest(known[row.digest], now, grace(session))
        if verdict.kept is not None:
            outcome.kept.append(verdict.kept)
        else:
            _remove_manifest(session, repository, row.digest, now)
            outcome.removed.append(row.digest)
        settle(session, row, verdict.later)
    return outcome


def _remove_manifest(
    session: Session, repository: RepositoryRow, digest: str, now: datetime
) -> None:
    size = _manifest_size(session, repository.id or 0, digest)
    manifests.delete(session, repository, digest, by=WHO, now=now)
    track_bytes(session, digest, size, now=now)
    _enqueue_at_once(session, REVISION, repository.id or 0, digest, now)


def _enqueue_at_once(
    session: Session, kind: str, repository_id: int, digest: str, now: datetime
) -> None:
    """What is decided waits for no delay."""
    reviews.enqueue(session, kind, repository_id, [digest], "decided", now=now - grace(session))


def _manifest_size(session: Session, repository_id: int, digest: str) -> int:
    query = select(ManifestRow.size).where(
        ManifestRow.repository_id == repository_id, ManifestRow.digest == digest
    )
    return session.exec(query).one()


def track_bytes(session: Session, digest: str, size: int, *, now: datetime) -> None:
    """Have bytes in the storage, which belong to no repository, looked at as a blob."""
    row = {"digest": digest, "size": size, "state": LIVE, "version": 1}
    times = {"touched_at": now, "created_at": now}
    add_new(session, BlobRow, [{**row, **times}], key=["digest"])
    reviews.enqueue(session, reviews.BLOB, reviews.NO_REPOSITORY, [digest], "deleted", now=now)


def collect_blobs(session: Session, rows: Sequence[ReviewRow], *, now: datetime) -> Outcome:
    """Judge blobs: end memberships that nobody needs, mark what is left without any."""
    outcome = Outcome()
    digests = [row.digest for row in rows]
    # Repositories before blobs, as everybody locks them.
    stale = {
        repository_id
        for one in facts.of_blobs(session, digests).values()
        for repository_id in judge_blob(one, now, grace(session)).unlink
    }
    locked = {number: found for number in sorted(stale) if (found := _locked(session, number))}
    sizes = _lock_blobs(session, digests)
    known = facts.of_blobs(session, digests)
    for row in rows:
        if row.digest not in known:
            outcome.kept.append(Kept.GONE)
            settle(session, row, None)
            continue
        verdict = judge_blob(known[row.digest], now, grace(session))
        if not locked.keys() >= set(verdict.unlink):
            # It came to belong elsewhere meanwhile, and that ended: soon enough next time.
            verdict = Verdict(Kept.FRESH, now)
        size, version = sizes[row.digest]
        _unlink(session, [locked[number] for number in verdict.unlink], row.digest, size, now)
        outcome.unlinked += [(locked[n].name, row.digest, size) for n in verdict.unlink]
        if verdict.kept is not None:
            outcome.kept.append(verdict.kept)
            settle(session, row, verdict.later)
        elif _mark(session, row.digest, version):
            outcome.removed.append(row.digest)
    return outcome


def _lock_blobs(session: Session, digests: Collection[str]) -> dict[str, tuple[int, int]]:
    """Size and version of the blobs, in the order of their digests.

    On PostgreSQL a statement sees the database as it was when it began, before it waited for a
    lock: so facts are asked for in statements of their own afterwards.
    """
    query = select(BlobRow.digest, BlobRow.size, BlobRow.version)
    query = query.where(col(BlobRow.digest).in_(digests)).order_by(col(BlobRow.digest))
    rows = session.exec(query.with_for_update())
    return {digest: (size, version) for digest, size, version in rows}


def _unlink(
    session: Session, repositories: Iterable[RepositoryRow], digest: str, size: int, now: datetime
) -> None:
    for repository in repositories:
        number = repository.id or 0
        session.exec(
            delete(RepositoryBlobRow).where(
                col(RepositoryBlobRow.repository_id) == number,
                col(RepositoryBlobRow.digest) == digest,
            )
        )
        repository.size -= size
        session.add(repository)
        _enqueue_at_once(session, LINK, number, digest, now)


def _mark(session: Session, digest: str, version: int) -> bool:
    changed = session.exec(
        update(BlobRow)
        .where(col(BlobRow.digest) == digest, col(BlobRow.version) == version)
        .values(state=DELETING, version=version + 1)
        .execution_options(synchronize_session=False)
    )
    return changed.rowcount == 1


def finish_blob(
    session: Session,
    digest: str,
    remove_link: Callable[[str, str], None],
    remove_bytes: Callable[[str], None],
) -> int | None:
    """Remove a marked blob from the storage and then from the index; its bytes, None if it lives.

    The row is held meanwhile: who wants the blob waits, and then finds it gone. It is removed
    from the outside inwards (links, bytes, row), so that wherever a kill falls, the rest can be
    removed again. Links of repositories that it was taken from earlier go in any case.
    """
    query = select(BlobRow).where(BlobRow.digest == digest).with_for_update()
    blob = session.exec(query.execution_options(populate_existing=True)).first()
    for review, name in _link_reviews(session, digest):
        if name is not None and not _belongs(session, review.repository_id, digest):
            remove_link(name, digest)
        session.delete(review)
    if blob is None or blob.state != DELETING:
        return None
    remove_bytes(digest)
    session.delete(blob)
    session.exec(
        delete(ReviewRow).where(
            col(ReviewRow.kind) == reviews.BLOB, col(ReviewRow.digest) == digest
        )
    )
    return blob.size


def _link_reviews(session: Session, digest: str) -> list[tuple[ReviewRow, str | None]]:
    query = (
        select(ReviewRow, RepositoryRow.name)
        .join(RepositoryRow, col(RepositoryRow.id) == col(ReviewRow.repository_id), isouter=True)
        .where(ReviewRow.kind == LINK, ReviewRow.digest == digest)
    )
    return [(review, name) for review, name in session.exec(query)]


def _belongs(session: Session, repository_id: int, digest: str) -> bool:
    query = select(RepositoryBlobRow.digest).where(
        RepositoryBlobRow.repository_id == repository_id, RepositoryBlobRow.digest == digest
    )
    return session.exec(query).first() is not None


@dataclass(frozen=True)
class Revision:
    """A manifest whose link at Distribution is to be brought in line with the index."""

    repository: str
    data: bytes | None
    """Its bytes where the index has it; None where it is to go."""


def revision(session: Session, row: ReviewRow) -> Revision | None:
    """What the storage should have; None when the repository is gone with all it had."""
    repository = session.get(RepositoryRow, row.repository_id)
    if repository is None:
        return None
    query = select(ManifestRow.data).where(
        ManifestRow.repository_id == row.repository_id, ManifestRow.digest == row.digest
    )
    return Revision(repository.name, session.exec(query).first())


def manifest_bytes(session: Session, digest: str) -> bytes | None:
    """The bytes of a manifest of any repository."""
    return session.exec(select(ManifestRow.data).where(ManifestRow.digest == digest)).first()


def settle(session: Session, row: ReviewRow, later: datetime | None) -> None:
    """Take a review off the queue or put it up again for ``later``, if it still is as it was."""
    same = (
        col(ReviewRow.id) == row.id,
        col(ReviewRow.review_after) == row.review_after,
        col(ReviewRow.tries) == row.tries,
    )
    options = {"synchronize_session": False}
    if later is None:
        session.exec(delete(ReviewRow).where(*same).execution_options(**options))
    else:
        again = update(ReviewRow).where(*same).values(review_after=later, tries=row.tries + 1)
        session.exec(again.execution_options(**options))


def _locked(session: Session, repository_id: int) -> RepositoryRow | None:
    row = session.get(RepositoryRow, repository_id)
    return None if row is None else lock(session, row)


def name_of(session: Session, repository_id: int) -> str:
    """The repository's name; "" when it is gone."""
    query = select(RepositoryRow.name).where(RepositoryRow.id == repository_id)
    return session.exec(query).first() or ""


def is_known(session: Session, name: str) -> bool:
    """Whether the index has a repository of that name, also one that is being deleted."""
    query = select(RepositoryRow.id).where(RepositoryRow.name == name)
    return session.exec(query).first() is not None


def is_going_repository(session: Session, name: str) -> bool:
    """Whether the repository is being deleted."""
    query = select(RepositoryRow.deleting_since).where(RepositoryRow.name == name)
    return session.exec(query).first() is not None


def grace(session: Session) -> timedelta:
    """How long what was touched is left alone."""
    delay: timedelta = session.info["review_delay"]
    return delay

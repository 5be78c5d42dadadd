"""Garbage collection in the index: what goes is decided and written in one transaction.

A manifest goes while its repository is locked, a blob while its own row is: nobody can come to
need it in between. The storage follows afterwards (``registry_gc_storage``), by reviews that the
same transaction writes: a collection that is killed leaves nothing that the next does not finish.

Reviews are read without locks, then judged and taken off the queue only as they were read: who
pushes holds a repository and then writes reviews, so a collection must not hold reviews and ask for
repositories.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy import bindparam, func, tuple_
from sqlmodel import Session, col, delete, select, update

from fleetwide.models.registry_gc import GarbageQueue, Kept
from fleetwide.registry.garbage import BlobFacts, Verdict, judge_blob, judge_manifest
from fleetwide.store import registry_facts as facts
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_blobs import DELETING
from fleetwide.store.registry_removal import remove_manifests
from fleetwide.store.registry_repositories import id_of, lock
from fleetwide.store.registry_tables import (
    BlobRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
)

LINK = "link"
"""A blob that no longer belongs to a repository, whose link Distribution still has."""
REVISION = "revision"
"""A manifest that the index no longer has, whose link Distribution may still have."""
WHO = "garbage collection"

Settled = tuple[ReviewRow, datetime | None]
"""A review that was done, and when it has to be done again."""

_SAME = (
    col(ReviewRow.id) == bindparam("this"),
    col(ReviewRow.review_after) == bindparam("waited_until"),
    col(ReviewRow.tries) == bindparam("tried"),
)
_DONE = delete(ReviewRow).where(*_SAME)
_AGAIN = (
    update(ReviewRow)
    .where(*_SAME)
    .values(review_after=bindparam("later"), tries=bindparam("tried") + 1)
)


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
    repository = _locked(session, repository_id)
    rows = _unchanged(session, rows)
    known = facts.of_manifests(session, repository_id, [row.digest for row in rows])
    verdicts = {
        row.digest: judge_manifest(known[row.digest], now, grace(session))
        if repository is not None and row.digest in known
        else Verdict(Kept.GONE)
        for row in rows
    }
    going = [digest for digest, verdict in verdicts.items() if verdict.goes]
    if repository is not None and going:
        _remove_manifests(session, repository, going, now)
    settle(session, [(row, verdicts[row.digest].later) for row in rows])
    return Outcome(_kept(verdicts), going)


def _kept(verdicts: Mapping[str, Verdict]) -> list[Kept]:
    return [verdict.kept for verdict in verdicts.values() if verdict.kept is not None]


def _remove_manifests(
    session: Session, repository: RepositoryRow, digests: Sequence[str], now: datetime
) -> None:
    sizes = remove_manifests(session, repository, digests, by=WHO, now=now)
    _enqueue_at_once(session, REVISION, id_of(repository), sizes, now)


def _enqueue_at_once(
    session: Session, kind: str, repository_id: int, digests: Iterable[str], now: datetime
) -> None:
    """What is decided waits for no delay."""
    reviews.enqueue(session, kind, repository_id, digests, "decided", now=now - grace(session))


def collect_blobs(session: Session, rows: Sequence[ReviewRow], *, now: datetime) -> Outcome:
    """Judge blobs: end memberships that nobody needs, mark what is left without any."""
    digests = [row.digest for row in rows]
    # Repositories before blobs, as everybody locks them.
    locked = _lock_losing(session, digests, now)
    held = _lock_blobs(session, digests)
    rows = _unchanged(session, rows)
    digests = [row.digest for row in rows]
    known = facts.of_blobs(session, digests)
    verdicts = {
        digest: _judge_held(known[digest], locked, now, grace(session))
        if digest in known
        else Verdict(Kept.GONE)
        for digest in digests
    }
    outcome = Outcome(_kept(verdicts))
    for number, repository in locked.items():
        sizes = {digest: held[digest][0] for digest in digests if number in verdicts[digest].unlink}
        _unlink(session, repository, sizes, now)
        outcome.unlinked += [(repository.name, digest, size) for digest, size in sizes.items()]
    going = {digest: held[digest][1] for digest in digests if verdicts[digest].goes}
    outcome.removed = _mark(session, going)
    # What goes stays on the queue until it is gone.
    settle(session, [(row, verdicts[row.digest].later) for row in rows if row.digest not in going])
    return outcome


def _lock_losing(
    session: Session, digests: Collection[str], now: datetime
) -> dict[int, RepositoryRow]:
    """The repositories that blobs may cease to belong to, by id."""
    numbers = {
        number
        for one in facts.of_blobs(session, digests).values()
        for number in judge_blob(one, now, grace(session)).unlink
    }
    return {number: found for number in sorted(numbers) if (found := _locked(session, number))}


def _judge_held(
    known: BlobFacts, locked: Collection[int], now: datetime, grace: timedelta
) -> Verdict:
    verdict = judge_blob(known, now, grace)
    if set(verdict.unlink) <= set(locked):
        return verdict
    # It came to belong elsewhere meanwhile, and that ended: soon enough next time.
    return Verdict(Kept.FRESH, now)


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
    session: Session, repository: RepositoryRow, sizes: Mapping[str, int], now: datetime
) -> None:
    if not sizes:
        return
    session.exec(
        delete(RepositoryBlobRow).where(
            col(RepositoryBlobRow.repository_id) == repository.id,
            col(RepositoryBlobRow.digest).in_(list(sizes)),
        )
    )
    repository.size -= sum(sizes.values())
    session.add(repository)
    _enqueue_at_once(session, LINK, id_of(repository), sizes, now)


def _mark(session: Session, versions: Mapping[str, int]) -> list[str]:
    """Mark blobs that are as they were judged, and only those."""
    if not versions:
        return []
    changed = session.execute(
        update(BlobRow)
        .where(tuple_(col(BlobRow.digest), col(BlobRow.version)).in_(list(versions.items())))
        .values(state=DELETING, version=BlobRow.version + 1)
        .returning(col(BlobRow.digest))
        .execution_options(synchronize_session=False)
    )
    return sorted(changed.scalars())


def settle(session: Session, settled: Iterable[Settled]) -> None:
    """Take reviews off the queue or put them up again for later, if they still are as they were."""
    # In the order in which whoever writes reviews locks them.
    ordered = sorted(settled, key=lambda one: (one[0].kind, one[0].repository_id, one[0].digest))
    connection = session.connection()
    for again, run in groupby(ordered, lambda one: one[1] is not None):
        waiting = [
            {"this": row.id, "waited_until": row.review_after, "tried": row.tries, "later": later}
            for row, later in run
        ]
        connection.execute(_AGAIN if again else _DONE, waiting)


def _unchanged(session: Session, rows: Sequence[ReviewRow]) -> list[ReviewRow]:
    """Those of the reviews that are as they were read, asked for once everything is locked.

    A batch takes its time. Who has taken a reference away since has the thing wait anew: somebody
    may have been told a moment before that it is here to stay.
    """
    query = select(ReviewRow.id, ReviewRow.review_after, ReviewRow.tries)
    query = query.where(col(ReviewRow.id).in_([row.id for row in rows]))
    known = {number: (after, tries) for number, after, tries in session.exec(query)}
    return [row for row in rows if known.get(row.id) == (row.review_after, row.tries)]


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

"""Which blobs a repository may read, and that none is removed while it is in use.

Garbage collection removes a blob only while it holds the blob's row and finds it ``deleting`` in
the version that it judged. So whoever needs a blob takes the row, and makes it live again.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import case, update
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_repositories import id_of, lock, lock_live
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    RepositoryBlobRow,
    RepositoryRow,
)
from fleetwide.store.upserts import add_new, insert

LIVE = "live"
DELETING = "deleting"
BROKEN = "broken"


def belongs(session: Session, repository_id: int, digest: str) -> BlobRow | None:
    """The blob, when it can be read in this repository: live, or still to be revived by ``hold``.

    A broken one does not count, so that clients upload it again.
    """
    query = (
        select(BlobRow)
        .join(RepositoryBlobRow, col(RepositoryBlobRow.digest) == col(BlobRow.digest))
        .where(
            RepositoryBlobRow.repository_id == repository_id,
            BlobRow.digest == digest,
            BlobRow.state != BROKEN,
        )
    )
    return session.exec(query).first()


def admit(
    session: Session,
    repository: RepositoryRow,
    digest: str,
    size: int,
    *,
    now: datetime,
    lease_until: datetime,
) -> None:
    """Note that Distribution has the blob of ``size`` bytes in this repository.

    It stays at least until ``lease_until``. A broken one counts as mended: whoever finds corrupt
    bytes takes them away, so what Distribution has now came in since.

    One blob a transaction, or several in the order of their digests, and before any ``hold``: two
    transactions that take blobs in different orders would wait for each other.

    Raises:
        NotFound, Conflict: the repository is gone, or is being deleted.
    """
    repository = lock_live(session, repository)
    repository_id = id_of(repository)
    _touch(session, digest, size, now)
    row = {
        "repository_id": repository_id,
        "digest": digest,
        "lease_until": lease_until,
        "created_at": now,
    }
    if add_new(session, RepositoryBlobRow, [row], key=["repository_id", "digest"]):
        repository.size += _size(session, digest)
        session.add(repository)
    else:
        _lease(session, repository_id, [digest], lease_until)
    reviews.enqueue(session, reviews.BLOB, reviews.NO_REPOSITORY, [digest], "uploaded", now=now)


def hold(
    session: Session,
    repository: RepositoryRow,
    digests: Iterable[str],
    *,
    now: datetime,
    lease_until: datetime,
) -> list[str]:
    """Keep ``digests`` at least until ``lease_until``; those that this repository does not have.

    Waits for garbage collection when it is removing one of them, and then does not have it.
    """
    wanted = sorted(set(digests))
    repository_id = id_of(repository)
    query = select(BlobRow.digest).where(col(BlobRow.digest).in_(wanted), BlobRow.state != BROKEN)
    locked = session.exec(query.order_by(col(BlobRow.digest)).with_for_update()).all()
    members = select(RepositoryBlobRow.digest).where(
        RepositoryBlobRow.repository_id == repository_id, col(RepositoryBlobRow.digest).in_(locked)
    )
    held = sorted(session.exec(members))
    session.exec(
        update(BlobRow)
        .where(col(BlobRow.digest).in_(held))
        .values(state=LIVE, version=BlobRow.version + 1, touched_at=now)
        .execution_options(synchronize_session=False)
    )
    _lease(session, repository_id, held, lease_until)
    return sorted(set(wanted) - set(held))


def keep(session: Session, digest: str, *, now: datetime) -> None:
    """Touch a blob, of whatever repository: its bytes are about to be taken for another's.

    Waits for garbage collection when it is removing it; what then comes, comes anew.
    """
    session.exec(
        update(BlobRow)
        .where(col(BlobRow.digest) == digest, col(BlobRow.state) != BROKEN)
        .values(state=LIVE, version=BlobRow.version + 1, touched_at=now)
        .execution_options(synchronize_session=False)
    )


def remove_membership(
    session: Session, repository: RepositoryRow, digest: str, *, now: datetime
) -> bool:
    """Take the blob from this repository; False when it did not belong to it.

    Raises:
        Conflict: a manifest of this repository refers to it.
    """
    repository = lock(session, repository)
    key = (id_of(repository), digest)
    query = select(ManifestBlobRow.manifest).where(
        ManifestBlobRow.repository_id == key[0], ManifestBlobRow.blob == digest
    )
    user = session.exec(query.limit(1)).first()
    if user is not None:
        raise Conflict(f"manifest {user} of {repository.name} refers to blob {digest}")
    query_blob = select(BlobRow).where(BlobRow.digest == digest).with_for_update()
    blob = session.exec(query_blob).first()
    row = session.get(RepositoryBlobRow, key, populate_existing=True)
    if row is None:
        return False
    session.delete(row)
    repository.size -= blob.size if blob else 0
    session.add(repository)
    reviews.enqueue(session, reviews.BLOB, reviews.NO_REPOSITORY, [digest], "deleted", now=now)
    return True


def _touch(session: Session, digest: str, size: int, now: datetime) -> None:
    """Insert the blob's row, or take it from whoever was about to remove it."""
    statement = insert(session, BlobRow).values(
        digest=digest, size=size, state=LIVE, version=1, touched_at=now, created_at=now
    )
    changed: dict[str, Any] = {
        "state": LIVE,
        "version": BlobRow.version + 1,
        "touched_at": now,
    }
    session.execute(statement.on_conflict_do_update(index_elements=["digest"], set_=changed))


def _size(session: Session, digest: str) -> int:
    return session.exec(select(BlobRow.size).where(BlobRow.digest == digest)).one()


def _lease(
    session: Session, repository_id: int, digests: Iterable[str], lease_until: datetime
) -> None:
    """Lengthen leases; one that lasts longer already stays."""
    lease = col(RepositoryBlobRow.lease_until)
    session.exec(
        update(RepositoryBlobRow)
        .where(
            col(RepositoryBlobRow.repository_id) == repository_id,
            col(RepositoryBlobRow.digest).in_(list(digests)),
        )
        .values(lease_until=case((lease < lease_until, lease_until), else_=lease))
        .execution_options(synchronize_session=False)
    )

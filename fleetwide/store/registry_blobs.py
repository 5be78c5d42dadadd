"""Which blobs a repository may read, and that none is removed while it is in use.

Garbage collection removes a blob only while it holds the blob's row and finds it ``deleting`` in
the version that it judged. So whoever needs a blob takes the row, and makes it live again.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, bindparam, case, update
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict
from fleetwide.store import registry_broken
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_repositories import count, id_of, lock, lock_live
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    RepositoryBlobRow,
    RepositoryRow,
)
from fleetwide.store.tables import UtcDateTime
from fleetwide.store.upserts import Upsert

LIVE, DELETING, BROKEN = registry_broken.LIVE, registry_broken.DELETING, registry_broken.BROKEN

# Built once: every push runs them.
_moment = bindparam("moment", type_=UtcDateTime)
_digests: BindParameter[Any] = bindparam("digests", expanding=True)
_LOCK = (
    select(BlobRow.digest)
    .where(col(BlobRow.digest).in_(_digests), BlobRow.state != BROKEN)
    .order_by(col(BlobRow.digest))
    .with_for_update()
)
_REVIVED = {"state": LIVE, "version": BlobRow.version + 1}
_REVIVE = (
    update(BlobRow)
    .where(col(BlobRow.digest).in_(_digests))
    .values({**_REVIVED, "touched_at": _moment})
)
_KEEP = _REVIVE.where(col(BlobRow.state) != BROKEN)
# Inserts the blob's row, or takes it from whoever was about to remove it. One that is broken
# is left so: its manifests are healed with it.
_TOUCHED = {**_REVIVED, "state": case((col(BlobRow.state) == BROKEN, BROKEN), else_=LIVE)}
_TOUCH = Upsert.into(
    BlobRow,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["digest"], set_={**_TOUCHED, "touched_at": insert.excluded.touched_at}
    ).returning(BlobRow.size, BlobRow.state),
)
_JOIN = Upsert.into(
    RepositoryBlobRow,
    lambda insert: insert.on_conflict_do_nothing(
        index_elements=["repository_id", "digest"]
    ).returning(RepositoryBlobRow.digest),
)
_MEMBERS = select(RepositoryBlobRow.digest).where(
    RepositoryBlobRow.repository_id == bindparam("of_repository"),
    col(RepositoryBlobRow.digest).in_(_digests),
)
_until = bindparam("until", type_=UtcDateTime)
_lease = col(RepositoryBlobRow.lease_until)
# Lengthens leases; one that lasts longer already stays.
_LEASE = (
    update(RepositoryBlobRow)
    .where(
        col(RepositoryBlobRow.repository_id) == bindparam("of_repository"),
        col(RepositoryBlobRow.digest).in_(_digests),
    )
    .values(lease_until=case((_lease < _until, _until), else_=_lease))
    .returning(col(RepositoryBlobRow.digest))
)


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
    key = {"repository_id": repository_id, "digest": digest}
    blob = {"digest": digest, "size": size, "state": LIVE, "version": 1}
    touched = _TOUCH.run(session, {**blob, "touched_at": now, "created_at": now}).one()
    if touched.state == BROKEN:
        registry_broken.heal(session, digest, "uploaded again", now=now)
    if _JOIN.run(session, {**key, "lease_until": lease_until, "created_at": now}).first():
        count(session, repository, size=touched.size)
    else:
        _extend(session, repository_id, [digest], lease_until)
    reviews.enqueue(session, reviews.BLOB, reviews.NO_REPOSITORY, [digest], "uploaded", now=now)


def hold(
    session: Session,
    repository: RepositoryRow,
    digests: Iterable[str],
    *,
    now: datetime,
    lease_until: datetime | None = None,
    also: Iterable[str] = (),
) -> list[str]:
    """Keep ``digests`` at least until ``lease_until``; those that this repository does not have.

    Without ``lease_until`` for who refers to them in this transaction: that keeps them. ``also``
    is kept as ``keep`` does. Waits for garbage collection when it is removing one of them, and
    then does not have it.
    """
    wanted, others = set(digests), set(also)
    asked = sorted(wanted | others)
    locked = session.connection().execute(_LOCK, {"digests": asked}).scalars().all()
    # Asked for after the lock was got: on PostgreSQL a statement sees what was before it waited.
    members = [digest for digest in locked if digest in wanted]
    held = _members(session, id_of(repository), members, lease_until)
    revived = [digest for digest in locked if digest in held or digest in others]
    if revived:
        session.connection().execute(_REVIVE, {"digests": revived, "moment": now})
    return sorted(wanted - held)


def _members(
    session: Session, repository_id: int, digests: list[str], lease_until: datetime | None
) -> set[str]:
    """Those of ``digests`` that belong to the repository, leased if they are to be."""
    if not digests:
        return set()
    if lease_until is not None:
        return _extend(session, repository_id, digests, lease_until)
    values = {"of_repository": repository_id, "digests": digests}
    return set(session.connection().execute(_MEMBERS, values).scalars())


def keep(session: Session, digest: str, *, now: datetime) -> None:
    """Touch a blob, of whatever repository: its bytes are about to be taken for another's.

    Waits for garbage collection when it is removing it; what then comes, comes anew.
    """
    session.connection().execute(_KEEP, {"digests": [digest], "moment": now})


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


def _extend(
    session: Session, repository_id: int, digests: list[str], lease_until: datetime
) -> set[str]:
    """Lengthen the leases of those that belong to the repository, and answer which they are."""
    values = {"of_repository": repository_id, "digests": digests, "until": lease_until}
    return set(session.connection().execute(_LEASE, values).scalars())

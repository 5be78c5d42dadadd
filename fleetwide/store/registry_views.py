"""The index as reconciliation and scrub see it, and what they write there."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select, update

from fleetwide.registry.reconcile import IndexView, Meaning
from fleetwide.store.registry_blobs import BROKEN, DELETING, LIVE
from fleetwide.store.registry_facts import chunks
from fleetwide.store.registry_gc import LINK, REVISION
from fleetwide.store.registry_repositories import told
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
    TagRow,
)

MAX_REPOSITORIES_TOLD = 20


def view(session: Session, repository: RepositoryRow, stored_tags: Iterable[str]) -> IndexView:
    """A repository as the index has it; of ended tags only those that the storage has."""
    number = repository.id
    live = select(TagRow.name, TagRow.digest, TagRow.started_at).where(
        TagRow.repository_id == number, col(TagRow.ended_at).is_(None)
    )
    tags = {name: Meaning(digest, since) for name, digest, since in session.exec(live)}
    manifests = select(ManifestRow.digest).where(ManifestRow.repository_id == number)
    blobs = select(RepositoryBlobRow.digest).where(RepositoryBlobRow.repository_id == number)
    return IndexView(
        tags=tags,
        ended=_ended(session, number or 0, set(stored_tags) - set(tags)),
        manifests=frozenset(session.exec(manifests)),
        blobs=frozenset(session.exec(blobs)),
    )


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


def owners(session: Session, digest: str) -> list[str]:
    """Names of repositories that a blob belongs to, the first 20."""
    query = (
        select(RepositoryRow.name)
        .join(RepositoryBlobRow, col(RepositoryBlobRow.repository_id) == RepositoryRow.id)
        .where(RepositoryBlobRow.digest == digest)
        .order_by(col(RepositoryRow.name))
        .limit(MAX_REPOSITORIES_TOLD)
    )
    return list(session.exec(query))


def mark_broken(session: Session, digest: str, why: str, *, now: datetime) -> bool:
    """Note that a blob's bytes are missing or wrong; False when it is gone or about to go.

    Its manifests are broken with it. One that is known to be broken is told of only once.
    """
    row = lock_blob(session, digest)
    if row is None or row.state == DELETING:
        return False
    if row.state == BROKEN:
        return True
    row.state, row.version = BROKEN, row.version + 1
    session.add(row)
    _set_manifests(session, digest, BROKEN)
    for name in owners(session, digest):
        told(session, name, "blob-broken", f"{digest} is broken: {why}", at=now, digest=digest)
    return True


def heal(session: Session, digest: str, why: str, *, now: datetime) -> bool:
    """Note that a broken blob's bytes are right; False when it was not broken."""
    row = lock_blob(session, digest)
    if row is None or row.state != BROKEN:
        return False
    row.state, row.version = LIVE, row.version + 1
    session.add(row)
    session.flush()
    _set_manifests(session, digest, LIVE)
    for name in owners(session, digest):
        told(session, name, "blob-healed", f"{digest} is right: {why}", at=now, digest=digest)
    return True


def lock_blob(session: Session, digest: str) -> BlobRow | None:
    """The blob's row, kept from every other writer until the transaction ends."""
    query = select(BlobRow).where(BlobRow.digest == digest).with_for_update()
    return session.exec(query.execution_options(populate_existing=True)).first()


def _set_manifests(session: Session, digest: str, state: str) -> None:
    """Manifests are broken while anything that they refer to is."""
    pairs = session.exec(
        select(ManifestBlobRow.repository_id, ManifestBlobRow.manifest).where(
            ManifestBlobRow.blob == digest
        )
    ).all()
    for number, manifest in sorted(pairs):
        if state == LIVE and _has_broken(session, number, manifest):
            continue
        session.exec(
            update(ManifestRow)
            .where(col(ManifestRow.repository_id) == number, col(ManifestRow.digest) == manifest)
            .values(state=state)
            .execution_options(synchronize_session=False)
        )


def _has_broken(session: Session, number: int, manifest: str) -> bool:
    query = (
        select(BlobRow.digest)
        .join(ManifestBlobRow, col(ManifestBlobRow.blob) == BlobRow.digest)
        .where(
            ManifestBlobRow.repository_id == number,
            ManifestBlobRow.manifest == manifest,
            BlobRow.state == BROKEN,
        )
    )
    return session.exec(query.limit(1)).first() is not None

"""Blobs whose bytes are missing or wrong, and the manifests that are broken with them."""

from datetime import datetime

from sqlmodel import Session, col, select, update

from fleetwide.store.registry_repositories import told
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
)

LIVE = "live"
DELETING = "deleting"
BROKEN = "broken"
MAX_REPOSITORIES_TOLD = 20


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
        if state == LIVE and has_broken(session, number, manifest):
            continue
        session.exec(
            update(ManifestRow)
            .where(col(ManifestRow.repository_id) == number, col(ManifestRow.digest) == manifest)
            .values(state=state)
            .execution_options(synchronize_session=False)
        )


def has_broken(session: Session, number: int, manifest: str) -> bool:
    """Whether a blob that the manifest refers to is broken."""
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

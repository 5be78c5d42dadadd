"""The bytes of a manifest in all repositories that have it, for whoever compares and mends them."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session, col, select, update

from fleetwide.store.registry_broken import BROKEN, LIVE, has_broken
from fleetwide.store.registry_repositories import told
from fleetwide.store.registry_tables import ManifestRow, RepositoryRow


def digests_after(session: Session, after: str, limit: int) -> list[str]:
    """Digests of manifests, each once, in order from behind ``after``."""
    query = select(ManifestRow.digest).where(ManifestRow.digest > after).distinct()
    return list(session.exec(query.order_by(col(ManifestRow.digest)).limit(limit)))


def of(session: Session, digest: str) -> dict[int, bytes]:
    """The bytes by repository."""
    query = select(ManifestRow.repository_id, ManifestRow.data)
    return dict(session.exec(query.where(ManifestRow.digest == digest)).all())


def hold(session: Session, digest: str) -> list[int]:
    """Repositories that have the manifest; they keep it until the transaction ends."""
    query = select(ManifestRow.repository_id).where(ManifestRow.digest == digest)
    query = query.order_by(col(ManifestRow.repository_id)).with_for_update()
    return list(session.exec(query))


def mend(
    session: Session, digest: str, right: bytes, wrong: Collection[int], *, now: datetime
) -> int:
    """Put the right bytes into the repositories ``wrong``; how many have them now.

    A manifest that was broken alone is so no more.
    """
    if not wrong:
        return 0
    held = [number for number in hold(session, digest) if number in wrong]
    for number in held:
        state = BROKEN if has_broken(session, number, digest) else LIVE
        session.exec(
            update(ManifestRow)
            .where(col(ManifestRow.repository_id) == number, col(ManifestRow.digest) == digest)
            .values(data=right, size=len(right), state=state)
            .execution_options(synchronize_session=False)
        )
    told_of(session, digest, "the index has its bytes again", now, among=held)
    return len(held)


def mark_broken(session: Session, digest: str, *, now: datetime) -> bool:
    """Note that nobody has the manifest's bytes any more; False when it is gone itself."""
    query = select(ManifestRow).where(ManifestRow.digest == digest)
    query = query.order_by(col(ManifestRow.repository_id)).with_for_update()
    rows = session.exec(query).all()
    for row in rows:
        if row.state == BROKEN:
            continue
        row.state = BROKEN
        session.add(row)
        name = session.get_one(RepositoryRow, row.repository_id).name
        why = f"manifest {digest} is broken: neither side has its bytes"
        told(session, name, "manifest-broken", why, at=now, digest=digest)
    return bool(rows)


def told_of(
    session: Session,
    digest: str,
    what: str,
    now: datetime,
    among: Collection[int] | None = None,
) -> None:
    """Tell the repositories ``among`` those that have the manifest, or all, that it was mended."""
    for number in hold(session, digest):
        if among is None or number in among:
            name = session.get_one(RepositoryRow, number).name
            message = f"manifest {digest} is right: {what}"
            told(session, name, "manifest-mended", message, at=now, digest=digest)

"""Counters of pulls and of who pulled; the gateway notes them in memory and writes batches."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, delete, select

from fleetwide.store.registry_tables import ManifestRow, PullerRow
from fleetwide.store.upserts import insert

Pulls = Mapping[tuple[int, str, str], int]
"""How often each (repository id, digest, name of the caller's account) was pulled."""
Image = tuple[int, str]


def note(session: Session, counts: Pulls, now: datetime) -> None:
    """Add pulls to images and callers; a manifest that is gone meanwhile is passed over.

    A count of 0 moves the time of the image's last pull alone.
    """
    images: Counter[Image] = Counter()
    for (repository_id, digest, _), count in counts.items():
        images[repository_id, digest] += count
    # In one order, so that two gateways never wait for each other.
    present = {image for image in sorted(images) if _add(session, image, images[image], now)}
    _add_callers(session, counts, present, now)


def pullers(session: Session, repository_id: int, digest: str, *, limit: int) -> list[PullerRow]:
    """Who pulled a manifest, those who did most often first."""
    query = select(PullerRow).where(
        PullerRow.repository_id == repository_id, PullerRow.digest == digest
    )
    query = query.order_by(col(PullerRow.pulls).desc(), col(PullerRow.name))
    return list(session.exec(query.limit(limit)))


def forget(session: Session, repository_id: int, digests: Collection[str]) -> None:
    """Who pulled manifests, of which the rows are deleted already: nothing is added any more."""
    rows = delete(PullerRow).where(
        col(PullerRow.repository_id) == repository_id, col(PullerRow.digest).in_(digests)
    )
    session.exec(rows)


def _add(session: Session, image: Image, count: int, now: datetime) -> bool:
    """Whether there is such a manifest still; it stays until the transaction ends."""
    repository_id, digest = image
    done = session.exec(
        update(ManifestRow)
        .where(col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest)
        .values(pulls=ManifestRow.pulls + count, last_pulled_at=now)
        .execution_options(synchronize_session=False)
    )
    return done.rowcount > 0


def _add_callers(
    session: Session, counts: Pulls, present: Collection[Image], now: datetime
) -> None:
    rows: Sequence[dict[str, object]] = [
        {
            "repository_id": repository_id,
            "digest": digest,
            "name": name,
            "pulls": count,
            "last_pulled_at": now,
        }
        for (repository_id, digest, name), count in sorted(counts.items())
        if count and (repository_id, digest) in present
    ]
    if not rows:
        return
    statement = insert(session, PullerRow).values(rows)
    added = {
        "pulls": PullerRow.pulls + statement.excluded.pulls,
        "last_pulled_at": statement.excluded.last_pulled_at,
    }
    key = ["repository_id", "digest", "name"]
    session.execute(statement.on_conflict_do_update(index_elements=key, set_=added))

"""The queue of what may have become garbage; whoever takes a reference away puts it there."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleetwide.store.registry_tables import ReviewRow
from fleetwide.store.upserts import insert

BATCH = 500
BLOB = "blob"
MANIFEST = "manifest"
NO_REPOSITORY = 0
"""A blob is of no repository."""


def enqueue(
    session: Session,
    kind: str,
    repository_id: int,
    digests: Iterable[str],
    cause: str,
    *,
    now: datetime,
) -> None:
    """Have ``digests`` looked at when the store's ``review_delay`` has passed.

    One that waits already waits anew from now: something happened to it.
    """
    delay: timedelta = session.info["review_delay"]
    after = now + delay
    # In one order, so that two transactions never wait for each other.
    ordered = sorted(set(digests))
    for start in range(0, len(ordered), BATCH):
        rows = [
            {
                "kind": kind,
                "repository_id": repository_id,
                "digest": digest,
                "cause": cause,
                "tries": 0,
                "review_after": after,
            }
            for digest in ordered[start : start + BATCH]
        ]
        statement = insert(session, ReviewRow).values(rows)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["kind", "repository_id", "digest"],
                set_={"cause": cause, "tries": 0, "review_after": after},
            )
        )


def due(session: Session, now: datetime, limit: int) -> list[ReviewRow]:
    """What is to be looked at by now, the longest waiting first; locked until the end.

    What another transaction looks at meanwhile is left out.
    """
    query = select(ReviewRow).where(ReviewRow.review_after <= now)
    query = query.order_by(col(ReviewRow.review_after), col(ReviewRow.id)).limit(limit)
    return list(session.exec(query.with_for_update(skip_locked=True)))


def done(session: Session, row: ReviewRow) -> None:
    """Take ``row`` off the queue."""
    session.delete(row)


def postpone(session: Session, row: ReviewRow, until: datetime) -> None:
    """Look at ``row`` again at ``until``."""
    row.review_after = until
    row.tries += 1
    session.add(row)

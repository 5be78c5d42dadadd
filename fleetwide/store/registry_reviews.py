"""The queue of what may have become garbage; whoever takes a reference away puts it there.

Reviews are noted while a transaction goes on and written at its end, in one order: they are the
last that it locks, so that two transactions never wait for each other over them.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlmodel import Session

from fleetwide.store.registry_tables import ReviewRow
from fleetwide.store.upserts import insert

BATCH = 500
BLOB = "blob"
MANIFEST = "manifest"
NO_REPOSITORY = 0
"""A blob is of no repository."""
KEY = ["kind", "repository_id", "digest"]

_NOTED = "reviews"
"""Where a session keeps what is to be written: cause and time by ``KEY``."""


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
    noted = session.info.setdefault(_NOTED, {})
    for digest in digests:
        noted[kind, repository_id, digest] = (cause, now + delay)


def write_down(session: Session) -> None:
    """Write what the transaction has noted; the last thing that it does."""
    rows = [
        {**dict(zip(KEY, key, strict=True)), "cause": cause, "tries": 0, "review_after": after}
        for key, (cause, after) in sorted(session.info.pop(_NOTED, {}).items())
    ]
    for start in range(0, len(rows), BATCH):
        statement = insert(session, ReviewRow).values(rows[start : start + BATCH])
        changed = {name: statement.excluded[name] for name in ("cause", "tries", "review_after")}
        session.execute(statement.on_conflict_do_update(index_elements=KEY, set_=changed))

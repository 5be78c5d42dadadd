"""The queue of what may have become garbage; whoever takes a reference away puts it there.

Reviews are noted while a transaction goes on and written at its end, in one order: they are the
last that it locks, so that two transactions never wait for each other over them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlmodel import Session

from fleetwide.store.registry_tables import BlobRow, ReviewRow
from fleetwide.store.upserts import Upsert

BATCH = 500
"""Digests that one statement of another module takes at a time."""
BLOB = "blob"
MANIFEST = "manifest"
NO_REPOSITORY = 0
"""A blob is of no repository."""
KEY = ["kind", "repository_id", "digest"]

_WRITE = Upsert.into(
    ReviewRow,
    lambda insert: insert.on_conflict_do_update(
        index_elements=KEY,
        set_={name: insert.excluded[name] for name in ("cause", "tries", "review_after")},
    ),
)
_TRACK = Upsert.into(
    BlobRow, lambda insert: insert.on_conflict_do_nothing(index_elements=["digest"])
)
_TRACKED = "bytes"
"""Where a session keeps the blobs that it inserts at its end, where they are not known."""
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


def track(session: Session, sizes: Mapping[str, int], *, now: datetime) -> None:
    """Have bytes in the storage, which belong to no repository, looked at as blobs."""
    same = {"state": "live", "version": 1, "touched_at": now, "created_at": now}
    noted = session.info.setdefault(_TRACKED, {})
    noted.update((digest, {"size": size, **same}) for digest, size in sizes.items())
    enqueue(session, BLOB, NO_REPOSITORY, sizes, "deleted", now=now)


def write_down(session: Session) -> None:
    """Write what the transaction has noted; the last thing that it does."""
    tracked = session.info.pop(_TRACKED, {})
    blobs = [{"digest": digest, **tracked[digest]} for digest in sorted(tracked)]
    if blobs:
        _TRACK.run(session, blobs)
    rows = [
        {**dict(zip(KEY, key, strict=True)), "cause": cause, "tries": 0, "review_after": after}
        for key, (cause, after) in sorted(session.info.pop(_NOTED, {}).items())
    ]
    if rows:
        _WRITE.run(session, rows)

"""Which tags a retention's report named, and which of them its application has ended.

A history cannot hold a million names, and judging again is no substitute: a use that ended since
would let a tag go that the report had kept.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, delete, select, update

from fleetwide.registry.retention import TagFacts
from fleetwide.store import registry_tags
from fleetwide.store.registry_facts import chunks
from fleetwide.store.registry_repositories import find, id_of, lock
from fleetwide.store.registry_tables import RetentionTagRow
from fleetwide.store.upserts import add_new

KEY = ["run", "repository_id", "name"]


def name_going(
    session: Session,
    run: str,
    repository_id: int,
    tags: Sequence[TagFacts],
    *,
    between: tuple[str, str | None],
    now: datetime,
) -> None:
    """Note ``tags`` as those that go, of all whose names lie behind the first of ``between``.

    Its second is the last name that was judged, None for the repository's end. What an earlier
    try named there, before it was killed, is forgotten: the report does not count it.
    """
    after, last = between
    earlier = [*_of(run, repository_id), col(RetentionTagRow.name) > after]
    if last is not None:
        earlier.append(col(RetentionTagRow.name) <= last)
    session.exec(delete(RetentionTagRow).where(*earlier))
    rows = [
        {
            "run": run,
            "repository_id": repository_id,
            "name": tag.name,
            "digest": tag.digest,
            "pushed_at": tag.pushed_at,
            "ended": False,
            "judged_at": now,
        }
        for tag in tags
    ]
    add_new(session, RetentionTagRow, rows, key=KEY)


def end_named(
    session: Session,
    run: str,
    repository: str,
    tags: Sequence[TagFacts],
    *,
    by: str,
    now: datetime,
) -> None:
    """End those of ``tags`` that the report named and that still mean what they meant then."""
    row = find(session, repository)
    if row is None:
        return
    # Whoever pushes one of the tags now waits, or has been waited for.
    row = lock(session, row)
    number = id_of(row)
    named = _named(session, run, number, [tag.name for tag in tags])
    live = {tag.name: registry_tags.live(session, number, tag.name) for tag in tags}
    going = [
        tag
        for name, tag in live.items()
        if tag is not None and named.get(name) == (tag.digest, tag.started_at)
    ]
    # Each touches its manifest, and those are locked in the order of their digests.
    for tag in sorted(going, key=lambda tag: tag.digest):
        registry_tags.delete(session, row, tag.name, by=by, now=now)
    ended = col(RetentionTagRow.name).in_([tag.name for tag in going])
    session.exec(update(RetentionTagRow).where(*_of(run, number), ended).values(ended=True))


def _named(
    session: Session, run: str, repository_id: int, names: Sequence[str]
) -> Mapping[str, tuple[str, datetime]]:
    found: dict[str, tuple[str, datetime]] = {}
    for chunk in chunks(names):
        query = select(RetentionTagRow).where(
            *_of(run, repository_id), col(RetentionTagRow.name).in_(chunk)
        )
        found |= {row.name: (row.digest, row.pushed_at) for row in session.exec(query)}
    return found


def ended_count(session: Session, run: str, repository_id: int) -> int:
    """How many tags of the repository the run has ended, also in tries that were killed."""
    query = select(func.count()).select_from(RetentionTagRow).where(*_of(run, repository_id))
    return int(session.exec(query.where(col(RetentionTagRow.ended))).one())


def forget(session: Session, before: datetime, limit: int) -> int:
    """Forget up to ``limit`` names of reports that nobody can apply any more; how many."""
    old = select(col(RetentionTagRow.run), RetentionTagRow.repository_id, RetentionTagRow.name)
    old = old.where(RetentionTagRow.judged_at < before).limit(limit)
    names: dict[tuple[str, int], list[str]] = {}
    for run, number, name in session.exec(old):
        names.setdefault((run, number), []).append(name)
    for key, found in names.items():
        for chunk in chunks(found):
            gone = col(RetentionTagRow.name).in_(chunk)
            session.exec(delete(RetentionTagRow).where(*_of(*key), gone))
    return sum(map(len, names.values()))


def _of(run: str, repository_id: int) -> list[ColumnElement[bool]]:
    return [col(RetentionTagRow.run) == run, col(RetentionTagRow.repository_id) == repository_id]

"""Tags as intervals of time: what one means now, what it meant before, and who changed it."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import exists
from sqlmodel import Session, col, or_, select, update
from sqlmodel.sql.expression import SelectOfScalar

from fleetwide.errors import NotFound
from fleetwide.registry.names import check_tag
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_repositories import id_of, lock, lock_live, told
from fleetwide.store.registry_tables import ManifestRow, RepositoryRow, TagRow


def page(session: Session, repository_id: int, *, after: str = "", limit: int) -> list[TagRow]:
    """Live tags by name from behind ``after``."""
    query = _live(repository_id).where(TagRow.name > after)
    return list(session.exec(query.order_by(col(TagRow.name)).limit(limit)))


def live(session: Session, repository_id: int, name: str) -> TagRow | None:
    """What the tag means now."""
    return session.exec(_live(repository_id).where(TagRow.name == name)).first()


def at(session: Session, repository_id: int, name: str, moment: datetime) -> TagRow | None:
    """What the tag meant at ``moment``."""
    query = select(TagRow).where(
        TagRow.repository_id == repository_id,
        TagRow.name == name,
        TagRow.started_at <= moment,
        or_(col(TagRow.ended_at).is_(None), col(TagRow.ended_at) > moment),
    )
    return session.exec(query.order_by(col(TagRow.started_at).desc()).limit(1)).first()


def history(session: Session, repository_id: int, name: str, *, limit: int) -> list[TagRow]:
    """The tag's intervals, newest first."""
    query = select(TagRow).where(TagRow.repository_id == repository_id, TagRow.name == name)
    query = query.order_by(col(TagRow.started_at).desc(), col(TagRow.id).desc())
    return list(session.exec(query.limit(limit)))


def of_manifest(session: Session, repository_id: int, digest: str) -> list[TagRow]:
    """The live tags of a manifest, by name."""
    query = _live(repository_id).where(TagRow.digest == digest)
    return list(session.exec(query.order_by(col(TagRow.name))))


def move(
    session: Session, repository: RepositoryRow, name: str, digest: str, *, by: str, now: datetime
) -> TagRow:
    """Let the tag mean ``digest`` from now on; without a change, the interval that runs.

    Raises:
        TagInvalid: ``name`` is no tag.
        NotFound: the repository, or the manifest in it, does not exist.
        Conflict: the repository is being deleted.
    """
    check_tag(name)
    repository = lock_live(session, repository)
    repository_id = id_of(repository)
    if not _touch(session, repository_id, digest, now):
        raise NotFound(f"there is no manifest {digest} in {repository.name}")
    newest = next(iter(history(session, repository_id, name, limit=1)), None)
    running = newest if newest is not None and newest.ended_at is None else None
    if running is not None and running.digest == digest:
        return running
    # Clocks of two gateways differ; intervals must not overlap all the same.
    start = now if newest is None else max(now, newest.ended_at or newest.started_at)
    if running is None:
        repository.tags += 1
        session.add(repository)
    else:
        _end(session, running, by=by, moment=start)
        # The next interval may only begin when this one has ended: an index sees to it.
        session.flush()
        _touch(session, repository_id, running.digest, now)
    row = TagRow(repository_id=repository_id, name=name, digest=digest, by=by, started_at=start)
    session.add(row)
    session.flush()
    before = running.digest if running is not None else ""
    if running is not None:
        review_untagged(session, repository_id, [before], now=now)
    data = {"digest": digest, "tag": name, "by": by, "before": before}
    told(session, repository.name, "tag-moved", f"{name} means {digest}", at=now, **data)
    return row


def delete(
    session: Session, repository: RepositoryRow, name: str, *, by: str, now: datetime
) -> bool:
    """End the tag; False when there is none. Its manifest stays until garbage collection."""
    repository = lock(session, repository)
    row = live(session, id_of(repository), name)
    if row is None:
        return False
    end_all(session, repository, [row], by=by, now=now)
    _touch(session, id_of(repository), row.digest, now)
    review_untagged(session, id_of(repository), [row.digest], now=now)
    return True


def end_all(
    session: Session, repository: RepositoryRow, rows: list[TagRow], *, by: str, now: datetime
) -> None:
    """End live tags of a repository that the caller has locked."""
    for row in rows:
        _end(session, row, by=by, moment=max(now, row.started_at))
        data = {"digest": row.digest, "tag": row.name, "by": by}
        told(session, repository.name, "tag-deleted", f"{row.name} was deleted", at=now, **data)
    repository.tags -= len(rows)
    session.add(repository)


def review_untagged(
    session: Session, repository_id: int, digests: Iterable[str], *, now: datetime
) -> None:
    """Have those manifests looked at that no tag means any more."""
    # One manifest may have very many tags: whether there is one at all is looked for.
    tagged = exists().where(
        col(TagRow.repository_id) == repository_id,
        col(TagRow.digest) == col(ManifestRow.digest),
        col(TagRow.ended_at).is_(None),
    )
    query = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id,
        col(ManifestRow.digest).in_(list(digests)),
        ~tagged,
    )
    lost = session.exec(query).all()
    reviews.enqueue(session, reviews.MANIFEST, repository_id, lost, "untagged", now=now)


def _live(repository_id: int) -> SelectOfScalar[TagRow]:
    return select(TagRow).where(
        TagRow.repository_id == repository_id, col(TagRow.ended_at).is_(None)
    )


def _end(session: Session, row: TagRow, *, by: str, moment: datetime) -> None:
    row.ended_at = moment
    row.ended_by = by
    session.add(row)


def _touch(session: Session, repository_id: int, digest: str, now: datetime) -> bool:
    result = session.exec(
        update(ManifestRow)
        .where(col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest)
        .values(touched_at=now)
        .execution_options(synchronize_session=False)
    )
    return result.rowcount > 0

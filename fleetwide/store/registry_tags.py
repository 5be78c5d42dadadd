"""Tags as intervals of time: what one means now, what it meant before, and who changed it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, case, exists, insert
from sqlmodel import Session, col, or_, select, update
from sqlmodel.sql.expression import SelectOfScalar

from fleetwide.errors import NotFound
from fleetwide.registry.names import check_tag
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_repositories import count, id_of, lock, lock_live, told
from fleetwide.store.registry_tables import ManifestRow, RepositoryRow, TagRow
from fleetwide.store.tables import UtcDateTime

# Built once: to write a statement anew costs several times what the database needs for it.
_moment = bindparam("moment", type_=UtcDateTime)
_END_ONE = (
    update(TagRow)
    .where(
        col(TagRow.repository_id) == bindparam("of_repository"),
        col(TagRow.name) == bindparam("tag"),
        col(TagRow.ended_at).is_(None),
    )
    .values(
        ended_at=case((col(TagRow.started_at) > _moment, col(TagRow.started_at)), else_=_moment),
        ended_by=bindparam("who"),
    )
    .returning(col(TagRow.digest))
)
_TAGGED = (
    select(TagRow.id)
    .where(
        TagRow.repository_id == bindparam("of_repository"),
        TagRow.digest == bindparam("manifest"),
        col(TagRow.ended_at).is_(None),
    )
    .limit(1)
)
_TOUCH = (
    update(ManifestRow)
    .where(
        col(ManifestRow.repository_id) == bindparam("of_repository"),
        col(ManifestRow.digest) == bindparam("manifest"),
    )
    .values(touched_at=_moment)
)
_NEWEST = (
    select(TagRow.id, TagRow.digest, TagRow.started_at, TagRow.ended_at)
    .where(TagRow.repository_id == bindparam("of_repository"), TagRow.name == bindparam("tag"))
    .order_by(col(TagRow.started_at).desc(), col(TagRow.id).desc())
    .limit(1)
)
_END = (
    update(TagRow)
    .where(col(TagRow.id) == bindparam("number"))
    .values(ended_at=_moment, ended_by=bindparam("who"))
)
_BEGIN = insert(TagRow)
# One manifest may have very many tags: whether there is one at all is looked for.
_UNTAGGED = select(ManifestRow.digest).where(
    ManifestRow.repository_id == bindparam("of_repository"),
    col(ManifestRow.digest).in_(bindparam("manifests", expanding=True)),
    ~exists().where(
        col(TagRow.repository_id) == col(ManifestRow.repository_id),
        col(TagRow.digest) == col(ManifestRow.digest),
        col(TagRow.ended_at).is_(None),
    ),
)


@dataclass(frozen=True)
class _Interval:
    """The last one of a tag."""

    number: int
    digest: str
    started_at: datetime
    ended_at: datetime | None

    @property
    def runs(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True)
class _Move:
    """What tags are to mean, by whom and since when."""

    digest: str
    by: str
    now: datetime


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
    return of_manifests(session, repository_id, [digest])


def of_manifests(session: Session, repository_id: int, digests: Iterable[str]) -> list[TagRow]:
    """The live tags of manifests, by name."""
    query = _live(repository_id).where(col(TagRow.digest).in_(list(digests)))
    return list(session.exec(query.order_by(col(TagRow.name))))


def move(
    session: Session, repository: RepositoryRow, name: str, digest: str, *, by: str, now: datetime
) -> TagRow:
    """Let the tag mean ``digest`` from now on: the interval that begins, or runs already.

    Raises:
        TagInvalid: ``name`` is no tag.
        NotFound: the repository, or the manifest in it, does not exist.
        Conflict: the repository is being deleted.
    """
    move_all(session, repository, [name], digest, by=by, now=now)
    return session.exec(_live(id_of(repository)).where(TagRow.name == name)).one()


def move_all(
    session: Session,
    repository: RepositoryRow,
    names: Iterable[str],
    digest: str,
    *,
    by: str,
    now: datetime,
) -> None:
    """``move`` for several tags, each of ``names`` once."""
    names = [check_tag(name) for name in dict.fromkeys(names)]
    repository = lock_live(session, repository)
    repository_id = id_of(repository)
    newest = {name: _newest(session, repository_id, name) for name in names}
    lost = {one.digest for one in newest.values() if one is not None and one.runs}
    lost.discard(digest)
    # Manifests are locked in one order, also by who counts their pulls.
    touched = [one for one in sorted({digest, *lost}) if _touch(session, repository_id, one, now)]
    if digest not in touched:
        raise NotFound(f"there is no manifest {digest} in {repository.name}")
    for name, before in newest.items():
        _follow(session, repository, name, before, _Move(digest, by, now))
    review_untagged(session, repository_id, lost, now=now)


def _newest(session: Session, repository_id: int, name: str) -> _Interval | None:
    values = {"of_repository": repository_id, "tag": name}
    row = session.connection().execute(_NEWEST, values).first()
    return None if row is None else _Interval(*row)


def _follow(
    session: Session, repository: RepositoryRow, name: str, newest: _Interval | None, move: _Move
) -> None:
    """Let an interval follow the tag's last one, unless that runs and means the same."""
    running, begin = None, move.now
    if newest is not None:
        running = newest if newest.runs else None
        if running is not None and running.digest == move.digest:
            return
        # Clocks of two gateways differ; intervals must not overlap all the same.
        begin = max(begin, newest.ended_at or newest.started_at)
    # The next interval may only begin when this one has ended: an index sees to it.
    if running is None:
        count(session, repository, tags=1)
    else:
        ended = {"number": running.number, "moment": begin, "who": move.by}
        session.connection().execute(_END, ended)
    row = {"repository_id": id_of(repository), "name": name, "digest": move.digest}
    row |= {"by": move.by, "started_at": begin, "ended_by": ""}
    session.connection().execute(_BEGIN, row)
    data = {"digest": move.digest, "tag": name, "by": move.by}
    data["before"] = running.digest if running is not None else ""
    message = f"{name} means {move.digest}"
    told(session, repository.name, "tag-moved", message, at=move.now, **data)


def delete(
    session: Session, repository: RepositoryRow, name: str, *, by: str, now: datetime
) -> bool:
    """End the tag; False when there is none. Its manifest stays until garbage collection."""
    repository = lock(session, repository)
    repository_id = id_of(repository)
    values = {"of_repository": repository_id, "tag": name, "moment": now, "who": by}
    digest = session.connection().execute(_END_ONE, values).scalar()
    if digest is None:
        return False
    _tell_deleted(session, repository, name, digest, by=by, now=now)
    count(session, repository, tags=-1)
    if not session.connection().execute(_TAGGED, values | {"manifest": digest}).first():
        _touch(session, repository_id, digest, now)
        reviews.enqueue(session, reviews.MANIFEST, repository_id, [digest], "untagged", now=now)
    return True


def end_all(
    session: Session, repository: RepositoryRow, rows: list[TagRow], *, by: str, now: datetime
) -> None:
    """End live tags of a repository that the caller has locked."""
    for row in rows:
        _end(session, row, by=by, moment=max(now, row.started_at))
        _tell_deleted(session, repository, row.name, row.digest, by=by, now=now)
    repository.tags -= len(rows)
    session.add(repository)


def review_untagged(
    session: Session, repository_id: int, digests: Iterable[str], *, now: datetime
) -> None:
    """Have those manifests looked at that no tag means any more."""
    values = {"of_repository": repository_id, "manifests": list(digests)}
    if not values["manifests"]:
        return
    lost = session.connection().execute(_UNTAGGED, values).scalars().all()
    reviews.enqueue(session, reviews.MANIFEST, repository_id, lost, "untagged", now=now)


def _live(repository_id: int) -> SelectOfScalar[TagRow]:
    return select(TagRow).where(
        TagRow.repository_id == repository_id, col(TagRow.ended_at).is_(None)
    )


def _tell_deleted(
    session: Session, repository: RepositoryRow, name: str, digest: str, *, by: str, now: datetime
) -> None:
    data = {"digest": digest, "tag": name, "by": by}
    told(session, repository.name, "tag-deleted", f"{name} was deleted", at=now, **data)


def _end(session: Session, row: TagRow, *, by: str, moment: datetime) -> None:
    row.ended_at = moment
    row.ended_by = by
    session.add(row)


def _touch(session: Session, repository_id: int, digest: str, now: datetime) -> bool:
    values = {"of_repository": repository_id, "manifest": digest, "moment": now}
    return session.connection().execute(_TOUCH, values).rowcount > 0

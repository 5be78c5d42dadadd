"""Repositories by name, and the lock that makes one writer at a time of all that change one.

Locks are taken in one order everywhere: repositories by id, blobs by digest, manifests by
repository and digest, and at the end of the transaction what is put up for review. Whoever holds
a blob's row must not ask for a repository's.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, false, or_, true, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.registry.names import check_repository
from fleetwide.store import events
from fleetwide.store.registry_tables import RepositoryRow
from fleetwide.store.upserts import add_new

MAX_REASON_TOLD = 200
"""Characters of a reason in the sentence of an event; its data have all of it."""
AFTER_ALL = "~"
"""Sorts behind every character that a repository's name may have."""
# Built once, since nearly every request runs them.
_NAMED = select(RepositoryRow).where(RepositoryRow.name == bindparam("name"))
# Weaker than FOR UPDATE: rows that refer to it may be inserted meanwhile.
_TAKEN = (
    select(RepositoryRow).with_for_update(key_share=True).execution_options(populate_existing=True)
)
_LOCKED = _TAKEN.where(RepositoryRow.id == bindparam("number"))
_LOCKED_BY_NAME = _TAKEN.where(RepositoryRow.name == bindparam("name"))
_COUNT = (
    update(RepositoryRow)
    .where(col(RepositoryRow.id) == bindparam("number"))
    .values(
        tags=RepositoryRow.tags + bindparam("more_tags"),
        manifests=RepositoryRow.manifests + bindparam("more_manifests"),
        size=RepositoryRow.size + bindparam("more_bytes"),
        manifest_bytes=RepositoryRow.manifest_bytes + bindparam("more_manifest_bytes"),
    )
)
_LOCKS = "locks"
"""Where a session keeps which repositories its transaction has locked."""


def find(session: Session, name: str) -> RepositoryRow | None:
    """The repository, or None: unknown, or being deleted."""
    row = _any(session, name)
    return row if row is not None and row.deleting_since is None else None


def require(session: Session, name: str) -> RepositoryRow:
    """The repository.

    Raises:
        NotFound: it is unknown or being deleted.
    """
    row = find(session, name)
    if row is None:
        raise NotFound(f"there is no repository {name}")
    return row


def ensure(session: Session, name: str, *, by: str, now: datetime) -> RepositoryRow:
    """The repository, made when it is new.

    Raises:
        RepositoryNameInvalid: ``name`` is no repository's name.
        Conflict: it is being deleted.
    """
    row = _any(session, name)
    if row is None:
        values = {"name": check_repository(name), "owner": by, "created_at": now}
        counters = {"tags": 0, "manifests": 0, "size": 0, "manifest_bytes": 0}
        if add_new(session, RepositoryRow, [{**values, **counters}], key=["name"]):
            told(session, name, "repository-created", f"{name} was created", at=now, by=by)
        row = _any(session, name)
    if row is None or row.deleting_since is not None:
        raise Conflict(f"{name} is being deleted", hint="push again when it is gone")
    return row


def lock(session: Session, repository: RepositoryRow) -> RepositoryRow:
    """The row as it is now, kept from every other writer until the transaction ends.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    session.flush()
    mine = _locks(session)
    row = mine.get(repository.name)
    if row is None:
        row = session.exec(_LOCKED, params={"number": repository.id}).first()
        if row is None:
            raise NotFound(f"there is no repository {repository.name}")
        mine[row.name] = row
    return row


def take(session: Session, name: str) -> RepositoryRow:
    """``require`` and ``lock`` at once.

    Raises:
        NotFound: it is unknown or being deleted.
    """
    session.flush()
    row = session.exec(_LOCKED_BY_NAME, params={"name": name}).first()
    if row is None or row.deleting_since is not None:
        raise NotFound(f"there is no repository {name}")
    _locks(session)[name] = row
    return row


def _locks(session: Session) -> dict[str, RepositoryRow]:
    """What the session's transaction has locked: nobody else has changed it since."""
    transaction = session.get_transaction()
    known: tuple[object, dict[str, RepositoryRow]] = session.info.get(_LOCKS, (None, {}))
    if transaction is None or known[0] is not transaction:
        known = session.info[_LOCKS] = (transaction, {})
    return known[1]


def lock_live(session: Session, repository: RepositoryRow) -> RepositoryRow:
    """``lock`` for who adds something.

    Raises:
        NotFound: it was deleted meanwhile.
        Conflict: it is being deleted.
    """
    row = lock(session, repository)
    if row.deleting_since is not None:
        raise Conflict(f"{row.name} is being deleted", hint="push again when it is gone")
    return row


def count(
    session: Session,
    repository: RepositoryRow,
    *,
    tags: int = 0,
    manifests: int = 0,
    size: int = 0,
    manifest_bytes: int = 0,
) -> None:
    """Add to the counters of a repository that this transaction has locked."""
    session.flush()  # what was set on the row itself comes first
    values = {"number": repository.id, "more_tags": tags, "more_manifests": manifests}
    values |= {"more_bytes": size, "more_manifest_bytes": manifest_bytes}
    session.connection().execute(_COUNT, values)
    added = {"tags": tags, "manifests": manifests, "size": size, "manifest_bytes": manifest_bytes}
    for counter, more in added.items():
        set_committed_value(repository, counter, getattr(repository, counter) + more)


def page(
    session: Session, *, after: str = "", limit: int, prefixes: Sequence[str] | None = None
) -> list[RepositoryRow]:
    """Repositories by name from behind ``after``; only those that ``shown_by`` tells of."""
    query = select(RepositoryRow).where(
        RepositoryRow.name > after,
        col(RepositoryRow.deleting_since).is_(None),
        shown_by(prefixes),
    )
    return list(session.exec(query.order_by(col(RepositoryRow.name)).limit(limit)))


def shown_by(prefixes: Sequence[str] | None) -> ColumnElement[bool]:
    """The condition that a repository is one of those that ``prefixes`` speak of.

    One that ends in a slash means all below it, "" means all, any other is one repository's name.
    No ``prefixes`` at all (None) means every repository; an empty list means none.
    """
    if prefixes is None or "" in prefixes:
        return true()
    return or_(false(), *map(_stands_for, prefixes))


def _stands_for(prefix: str) -> ColumnElement[bool]:
    name = col(RepositoryRow.name)
    if not prefix.endswith("/"):
        return name == prefix
    # As a range, which the index answers; LIKE would look at every name.
    return (name >= prefix) & (name < prefix + AFTER_ALL)


def told(
    session: Session, repository: str, kind: str, message: str, *, at: datetime, **data: str
) -> None:
    """Append an event of a repository to the outbox, in this transaction, with its reason."""
    reason: str = session.info.get("reason", "")
    if reason:
        data["reason"] = reason
        message = f"{message}: {' '.join(reason.split())[:MAX_REASON_TOLD]}"
    events.append(
        session,
        f"registry/{repository}",
        kind,
        message,
        at=at,
        data={"repository": repository, **data},
    )


def _any(session: Session, name: str) -> RepositoryRow | None:
    return session.exec(_NAMED, params={"name": name}).first()


def id_of(repository: RepositoryRow) -> int:
    """The id of a repository that lies in the database."""
    if repository.id is None:
        raise ValueError(f"{repository.name} was never stored")
    return repository.id

"""Repositories by name, and the lock that makes one writer at a time of all that change one.

Locks are taken in one order everywhere: repositories by id, blobs by digest, manifests by
repository and digest, and at the end of the transaction what is put up for review. Whoever holds
a blob's row must not ask for a repository's.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, or_
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.registry.names import check_repository
from fleetwide.store import events
from fleetwide.store.registry_tables import RepositoryRow
from fleetwide.store.upserts import add_new

AFTER_ALL = "~"
"""Sorts behind every character that a repository's name may have."""
# Built once, since nearly every request runs them.
_NAMED = select(RepositoryRow).where(RepositoryRow.name == bindparam("name"))
# Weaker than FOR UPDATE: rows that refer to it may be inserted meanwhile.
_LOCKED = (
    select(RepositoryRow)
    .where(RepositoryRow.id == bindparam("number"))
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)


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
        counters = {"tags": 0, "manifests": 0, "size": 0}
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
    row = session.exec(_LOCKED, params={"number": repository.id}).first()
    if row is None:
        raise NotFound(f"there is no repository {repository.name}")
    return row


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


def page(
    session: Session, *, after: str = "", limit: int, prefixes: Sequence[str] | None = None
) -> list[RepositoryRow]:
    """Repositories by name from behind ``after``; only those that ``prefixes`` speak of.

    One that ends in a slash means all below it, "" means all, any other is one repository's name.
    No ``prefixes`` at all (None) means every repository; an empty list means none.
    """
    if prefixes is not None and not prefixes:
        return []
    query = select(RepositoryRow).where(
        RepositoryRow.name > after, col(RepositoryRow.deleting_since).is_(None)
    )
    if prefixes is not None and "" not in prefixes:
        query = query.where(or_(*map(_stands_for, prefixes)))
    return list(session.exec(query.order_by(col(RepositoryRow.name)).limit(limit)))


def _stands_for(prefix: str) -> ColumnElement[bool]:
    name = col(RepositoryRow.name)
    if not prefix.endswith("/"):
        return name == prefix
    # As a range, which the index answers; LIKE would look at every name.
    return (name >= prefix) & (name < prefix + AFTER_ALL)


def search(session: Session, text: str, *, after: str = "", limit: int) -> list[RepositoryRow]:
    """Repositories that have ``text`` anywhere in their names, by name from behind ``after``."""
    query = select(RepositoryRow).where(
        RepositoryRow.name > after,
        col(RepositoryRow.deleting_since).is_(None),
        col(RepositoryRow.name).contains(text.lower(), autoescape=True),
    )
    return list(session.exec(query.order_by(col(RepositoryRow.name)).limit(limit)))


def told(
    session: Session, repository: str, kind: str, message: str, *, at: datetime, **data: str
) -> None:
    """Append an event of a repository to the outbox, in this transaction."""
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

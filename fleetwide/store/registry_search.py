"""Repositories by a part of their names, in answers whose cost has a bound.

No index of the databases that are supported without an extension serves a text in the middle of
a name, so names are looked through in their order, and an answer ends after so many of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from fleetwide.store.registry_repositories import shown_by
from fleetwide.store.registry_tables import RepositoryRow

LOOKED_AT = 10_000
"""Names that one answer looks at."""


@dataclass(frozen=True)
class Found:
    """What one look found, by name, and the name behind which the next look begins."""

    rows: Sequence[RepositoryRow]
    next: str | None


def search(
    session: Session,
    text: str,
    *,
    after: str = "",
    limit: int,
    prefixes: Sequence[str] | None = None,
) -> Found:
    """Repositories that have ``text`` in their names, by name from behind ``after``.

    ``prefixes`` are those of ``shown_by``. There may be no rows and a ``next`` all the same.
    """
    within = (
        col(RepositoryRow.name) > after,
        col(RepositoryRow.deleting_since).is_(None),
        shown_by(prefixes),
    )
    names = select(RepositoryRow.name).where(*within).order_by(col(RepositoryRow.name))
    last = session.exec(names.offset(LOOKED_AT - 1).limit(1)).first()
    query = select(RepositoryRow).where(
        *within, col(RepositoryRow.name).contains(text.lower(), autoescape=True)
    )
    if last is not None:
        query = query.where(RepositoryRow.name <= last)
    rows = list(session.exec(query.order_by(col(RepositoryRow.name)).limit(limit)))
    return Found(rows, rows[-1].name if len(rows) == limit else last)

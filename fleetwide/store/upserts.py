"""INSERT that gives way to a row that is there already, in the words of both databases.

Looking first and inserting afterwards lets two writers on PostgreSQL both find nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel


@dataclass(frozen=True)
class Upsert:
    """An ``INSERT`` that is built once: to write it anew costs several times what it does."""

    postgresql: Any
    sqlite: Any

    @classmethod
    def into(cls, table: type[SQLModel], build: Callable[[Any], Any]) -> "Upsert":
        """``build`` says by ``on_conflict_do_nothing`` or ``..._update`` how it gives way."""
        return cls(build(postgresql.insert(table)), build(sqlite.insert(table)))

    def run(
        self, session: Session, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> CursorResult[Any]:
        """Insert one row, or several that have the same columns."""
        connection = session.connection()
        of_postgresql = connection.dialect.name == "postgresql"
        return connection.execute(self.postgresql if of_postgresql else self.sqlite, rows)


def insert(session: Session, table: type[SQLModel]) -> Any:
    """An ``INSERT`` with ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    dialect = session.get_bind().dialect.name
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def add_new(
    session: Session, table: type[SQLModel], rows: list[dict[str, Any]], *, key: list[str]
) -> int:
    """Insert those of ``rows`` whose ``key`` is not there yet; how many they were."""
    if not rows:
        return 0
    statement = insert(session, table).values(rows).on_conflict_do_nothing(index_elements=key)
    # Drivers disagree on the number of rows that were inserted, so the rows are asked for.
    return len(session.execute(statement.returning(getattr(table, key[0]))).all())

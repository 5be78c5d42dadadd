"""INSERT that gives way to a row that is there already, in the words of both databases.

Looking first and inserting afterwards lets two writers on PostgreSQL both find nothing.
"""

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel


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

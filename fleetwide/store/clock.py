"""The database's clock: one for all processes, wherever they run and whatever their clocks say.

What one process writes down and another one compares with its now is measured by it.
"""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlmodel import Session

MILLISECONDS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}
"""Of the Unix epoch, as SQL, by dialect."""


def now(session: Session) -> datetime:
    """The time, in whole milliseconds."""
    words = MILLISECONDS[session.get_bind().dialect.name]
    found: int = session.connection().execute(text(f"SELECT {words}")).scalar_one()
    return datetime.fromtimestamp(found / 1000, UTC)

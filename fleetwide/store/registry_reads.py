"""The registry's hot path: who asks for a manifest by name is answered without the ORM.

For the event loop of one gateway process. Every answer comes from the database as it is at that
moment, so that a push through another gateway is seen at once.
"""

from typing import Protocol

from sqlalchemy.engine import make_url

from fleetwide.store.registry_read_statements import (
    Home,
    IndexUnavailable,
    Resolved,
    Standing,
)
from fleetwide.store.registry_reads_sqlite import SqliteReads

__all__ = ["Home", "IndexUnavailable", "ManifestReads", "Resolved", "Standing", "open_reads"]


class ManifestReads(Protocol):
    """Reads of the index; each raises ``IndexUnavailable`` when the database does not answer."""

    async def resolve(self, repository: str, reference: str) -> Resolved | None:
        """What ``reference``, a tag or a digest, stands for in the repository."""

    async def data(self, repository_id: int, digest: str) -> bytes | None:
        """The exact bytes of a manifest."""

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a live blob of the repository; one to be revived or asked for counts as None."""

    async def standing(self, repository: str, digest: str) -> Standing | None:
        """How the repository stands to a blob; None when there is no such repository."""

    async def home(self, repository: str, namespace: str) -> Home | None:
        """Where a push to the repository goes; None when it is new."""

    async def tags(self, repository: str, *, after: str = "", limit: int) -> list[str] | None:
        """Names of tags from behind ``after``; None when there is no such repository."""

    async def repositories(self, *, after: str = "", limit: int) -> list[str]:
        """Names of repositories from behind ``after``."""
        ...

    async def close(self) -> None:
        """Close every connection."""


def open_reads(database_url: str) -> ManifestReads:
    """Reads of the database at ``database_url``; connects when the first is made.

    Raises:
        ValueError: it is neither a SQLite file nor PostgreSQL.
    """
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return SqliteReads(url.database)
    if url.get_backend_name() == "postgresql":
        # The driver is only installed where PostgreSQL is used.
        from fleetwide.store.registry_reads_postgres import PostgresReads  # noqa: PLC0415

        return PostgresReads(url)
    raise ValueError("the registry's index lies in a SQLite file or in PostgreSQL")

"""Hot reads of SQLite: inside the event loop, since handing a read over would cost more."""

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fleetwide.registry.names import is_digest
from fleetwide.store import registry_read_statements as statements
from fleetwide.store.registry_read_statements import (
    Home,
    IndexUnavailable,
    Resolved,
    Standing,
)

BUSY_SECONDS = 1.0
"""Readers wait for nobody in WAL mode, except while the log is recovered after a crash."""
CACHE_KIB = 8 * 1024
"""Of pages. Mapped into memory, a file of a million tags would count as this process's own."""

_BY_DIGEST = statements.BY_DIGEST.format(p="?")
_BY_TAG = statements.BY_TAG.format(p="?")
_DATA = statements.DATA.format(p="?")
_REPOSITORY = statements.REPOSITORY.format(p="?")
_TAGS = statements.TAGS.format(p="?")
_REPOSITORIES = statements.REPOSITORIES.format(p="?")
_BLOB = statements.BLOB.format(p="?")
# In the form in which the other statements write times.
_STANDING = statements.STANDING.format(p="?", now="strftime('%Y-%m-%d %H:%M:%f', 'now')")
_HOME = statements.HOME.format(p="?")


class SqliteReads:
    """One read-only connection, opened when first needed: the file may appear later."""

    def __init__(self, path: str) -> None:
        self._uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
        self._connection: sqlite3.Connection | None = None

    async def resolve(self, repository: str, reference: str) -> Resolved | None:
        statement = _BY_DIGEST if is_digest(reference) else _BY_TAG
        row = self._one(statement, (reference, repository))
        return Resolved(*row) if row else None

    async def data(self, repository_id: int, digest: str) -> bytes | None:
        row = self._one(_DATA, (repository_id, digest))
        return row[0] if row else None

    async def blob_size(self, repository: str, digest: str) -> int | None:
        row = self._one(_BLOB, (digest, repository))
        return row[0] if row else None

    async def standing(self, repository: str, digest: str) -> Standing | None:
        row = self._one(_STANDING, (digest, repository))
        return Standing.of_row(*row) if row else None

    async def home(self, repository: str, namespace: str) -> Home | None:
        row = self._one(_HOME, (namespace, repository))
        return Home.of_row(*row) if row else None

    async def tags(self, repository: str, *, after: str = "", limit: int) -> list[str] | None:
        row = self._one(_REPOSITORY, (repository,))
        return self._names(_TAGS, (row[0], after, limit)) if row else None

    async def repositories(self, *, after: str = "", limit: int) -> list[str]:
        return self._names(_REPOSITORIES, (after, limit))

    async def close(self) -> None:
        self._close()

    def _one(self, statement: str, values: tuple[Any, ...]) -> Any:
        rows = self._rows(statement, values)
        return rows[0] if rows else None

    def _names(self, statement: str, values: tuple[Any, ...]) -> list[str]:
        return [row[0] for row in self._rows(statement, values)]

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            # To the end at once: a statement left open would keep the log from being emptied.
            return self._open().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            # Whatever it was, the next request finds out on a connection of its own.
            self._close()
            raise IndexUnavailable("the registry's index does not answer") from error

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            opened = sqlite3.connect(
                self._uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None
            )
            opened.execute("PRAGMA mmap_size=0")
            opened.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self._connection = opened
        return self._connection

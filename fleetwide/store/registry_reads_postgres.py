"""Hot reads of PostgreSQL: a few connections of one event loop, and prepared statements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from fleetwide.registry.names import is_digest
from fleetwide.store import registry_read_statements as statements
from fleetwide.store.registry_read_statements import IndexUnavailable, Resolved

CONNECTIONS = 8
CONNECT_SECONDS = 3
ANSWER_SECONDS = 5.0
REST_SECONDS = 1.0
"""After a failure to connect nobody tries again for so long: requests must not pile up."""

_BY_DIGEST = statements.BY_DIGEST.format(p="%s").encode()
_BY_TAG = statements.BY_TAG.format(p="%s").encode()
_DATA = statements.DATA.format(p="%s").encode()
_REPOSITORY = statements.REPOSITORY.format(p="%s").encode()
_TAGS = statements.TAGS.format(p="%s").encode()
_REPOSITORIES = statements.REPOSITORIES.format(p="%s").encode()
_BLOB = statements.BLOB.format(p="%s").encode()

Row = tuple[Any, ...]
Cursor = psycopg.AsyncCursor[Row]


class PostgresReads:
    """Connections are made when first needed, and again when the server has been restarted."""

    def __init__(self, url: URL) -> None:
        plain = url.set(drivername="postgresql")
        self._conninfo = plain.render_as_string(hide_password=False)
        # The one used last comes first, so that few connections stay warm. Each keeps its cursor:
        # to make one takes longer than some answers do.
        self._slots: asyncio.LifoQueue[Cursor | None] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._slots.put_nowait(None)
        self._rest_until = 0.0

    async def resolve(self, repository: str, reference: str) -> Resolved | None:
        statement = _BY_DIGEST if is_digest(reference) else _BY_TAG
        rows = await self._rows(statement, (reference, repository))
        return Resolved(*rows[0]) if rows else None

    async def data(self, repository_id: int, digest: str) -> bytes | None:
        rows = await self._rows(_DATA, (repository_id, digest))
        return bytes(rows[0][0]) if rows else None

    async def blob_size(self, repository: str, digest: str) -> int | None:
        rows = await self._rows(_BLOB, (digest, repository))
        return rows[0][0] if rows else None

    async def tags(self, repository: str, *, after: str = "", limit: int) -> list[str] | None:
        found = await self._rows(_REPOSITORY, (repository,))
        if not found:
            return None
        return [row[0] for row in await self._rows(_TAGS, (found[0][0], after, limit))]

    async def repositories(self, *, after: str = "", limit: int) -> list[str]:
        return [row[0] for row in await self._rows(_REPOSITORIES, (after, limit))]

    async def close(self) -> None:
        while not self._slots.empty():
            cursor = self._slots.get_nowait()
            if cursor is not None:
                await cursor.connection.close()

    async def _rows(self, statement: bytes, values: tuple[Any, ...]) -> list[Row]:
        """Ask once more on a connection of its own when the one at hand had died unnoticed."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await self._ask(statement, values, fresh=False)
                except psycopg.OperationalError:
                    return await self._ask(statement, values, fresh=True)
        except (psycopg.Error, TimeoutError) as error:
            raise IndexUnavailable("the registry's index does not answer") from error

    async def _ask(self, statement: bytes, values: tuple[Any, ...], *, fresh: bool) -> list[Row]:
        async with self._cursor(fresh=fresh) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    @asynccontextmanager
    async def _cursor(self, *, fresh: bool) -> AsyncIterator[Cursor]:
        cursor = await self._slots.get()
        kept: Cursor | None = None
        try:
            if cursor is not None and (fresh or cursor.connection.closed):
                await cursor.connection.close()
                cursor = None
            if cursor is None:
                cursor = (await self._connect()).cursor()
            yield cursor
            kept = cursor
        finally:
            # After any trouble, a cancelled request among it, its state is not known.
            self._slots.put_nowait(kept)
            if cursor is not None and kept is None:
                await cursor.connection.close()

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until:
            raise IndexUnavailable("the registry's index does not answer")
        try:
            return await psycopg.AsyncConnection.connect(
                self._conninfo,
                autocommit=True,
                prepare_threshold=0,
                connect_timeout=CONNECT_SECONDS,
            )
        except psycopg.Error:
            self._rest_until = loop.time() + REST_SECONDS
            raise

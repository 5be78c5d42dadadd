"""Hot reads of PostgreSQL: a few connections of one event loop, and prepared statements."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from fleetwide.registry.names import is_digest
from fleetwide.store import registry_read_statements as statements
from fleetwide.store.registry_read_statements import (
    Home,
    IndexUnavailable,
    Resolved,
    Standing,
)
from fleetwide.store.registry_reads_link import Link, Row, Statement, number

CONNECTIONS = 8
CONNECT_SECONDS = 3
ANSWER_SECONDS = 5.0
REST_SECONDS = 1.0
"""After a failure to connect nobody tries again for so long: requests must not pile up."""


def _statement(name: str, text: str, *columns: Callable[[bytes], Any]) -> Statement:
    first, *rest = text.replace("{now}", "now()").split("{p}")
    numbered = first + "".join(f"${place}{part}" for place, part in enumerate(rest, 1))
    return Statement(name.encode(), numbered.encode(), columns)


_IMAGE = (number, bytes.decode, bytes.decode, number)
_BY_DIGEST = _statement("by_digest", statements.BY_DIGEST, *_IMAGE)
_BY_TAG = _statement("by_tag", statements.BY_TAG, *_IMAGE)
_DATA = _statement("data", statements.DATA, bytes)
_REPOSITORY = _statement("repository", statements.REPOSITORY, number)
_TAGS = _statement("tags", statements.TAGS, bytes.decode)
_REPOSITORIES = _statement("repositories", statements.REPOSITORIES, bytes.decode)
_BLOB = _statement("blob", statements.BLOB, number)
_STANDING = _statement("standing", statements.STANDING, number, number, number, number)
_HOME = _statement("home", statements.HOME, number, number, number)


class PostgresReads:
    """Connections are made when first needed, and again when the server has been restarted."""

    def __init__(self, url: URL) -> None:
        plain = url.set(drivername="postgresql")
        self._conninfo = plain.render_as_string(hide_password=False)
        # The one used last comes first, so that few connections stay warm.
        self._slots: asyncio.LifoQueue[Link | None] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._slots.put_nowait(None)
        self._rest_until = 0.0

    async def resolve(self, repository: str, reference: str) -> Resolved | None:
        statement = _BY_DIGEST if is_digest(reference) else _BY_TAG
        rows = await self._rows(statement, (reference, repository))
        return Resolved(*rows[0]) if rows else None

    async def data(self, repository_id: int, digest: str) -> bytes | None:
        rows = await self._rows(_DATA, (repository_id, digest))
        return rows[0][0] if rows else None

    async def blob_size(self, repository: str, digest: str) -> int | None:
        rows = await self._rows(_BLOB, (digest, repository))
        return rows[0][0] if rows else None

    async def standing(self, repository: str, digest: str) -> Standing | None:
        rows = await self._rows(_STANDING, (digest, repository))
        return Standing.of_row(*rows[0]) if rows else None

    async def home(self, repository: str, namespace: str) -> Home | None:
        rows = await self._rows(_HOME, (namespace, repository))
        return Home.of_row(*rows[0]) if rows else None

    async def tags(self, repository: str, *, after: str = "", limit: int) -> list[str] | None:
        found = await self._rows(_REPOSITORY, (repository,))
        if not found:
            return None
        return [row[0] for row in await self._rows(_TAGS, (found[0][0], after, limit))]

    async def repositories(self, *, after: str = "", limit: int) -> list[str]:
        return [row[0] for row in await self._rows(_REPOSITORIES, (after, limit))]

    async def close(self) -> None:
        while not self._slots.empty():
            link = self._slots.get_nowait()
            if link is not None:
                await link.close()

    async def _rows(self, statement: Statement, values: Sequence[str | int]) -> list[Row]:
        """Ask once more on a connection of its own when the one at hand had died unnoticed."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await self._ask(statement, values, fresh=False)
                except psycopg.Error:
                    return await self._ask(statement, values, fresh=True)
        except (psycopg.Error, TimeoutError) as error:
            raise IndexUnavailable("the registry's index does not answer") from error

    async def _ask(
        self, statement: Statement, values: Sequence[str | int], *, fresh: bool
    ) -> list[Row]:
        async with self._link(fresh=fresh) as link:
            return await link.ask(statement, values)

    @asynccontextmanager
    async def _link(self, *, fresh: bool) -> AsyncIterator[Link]:
        link = await self._slots.get()
        kept: Link | None = None
        try:
            if link is not None and (fresh or link.closed):
                await link.close()
                link = None
            if link is None:
                link = Link(await self._connect())
            yield link
            kept = link
        finally:
            # After any trouble, a cancelled request among it, its state is not known.
            self._slots.put_nowait(kept)
            if link is not None and kept is None:
                await link.close()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until:
            raise IndexUnavailable("the registry's index does not answer")
        try:
            return await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=CONNECT_SECONDS
            )
        except psycopg.Error:
            self._rest_until = loop.time() + REST_SECONDS
            raise

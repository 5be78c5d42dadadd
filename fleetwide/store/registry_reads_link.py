"""One connection to PostgreSQL for one event loop, which asks prepared statements and nothing else.

The driver's own waiting costs several times what the server needs to answer a hot read: it adds
the socket to the loop and takes it away again for each message. Here it stays in the loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

Row = tuple[Any, ...]
_BINARY, _TEXT = 1, 0
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


def number(data: bytes) -> int:
    """An integer of any width, as the server sends it."""
    return int.from_bytes(data, "big", signed=True)


@dataclass(frozen=True)
class Statement:
    """A statement with ``$1`` and so on, and what makes a value of each of its columns."""

    name: bytes
    text: bytes
    columns: Sequence[Callable[[bytes], Any]]


class Link:
    """Asks one thing at a time; after any error, or a question given up, it is of no use."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.closed = False
        self._connection = connection
        self._wire = connection.pgconn
        self._prepared: set[bytes] = set()
        self._results: list[PGresult] = []
        self._answered: asyncio.Future[PGresult] | None = None
        self._loop = asyncio.get_running_loop()
        # Kept, since the driver forgets it when the server hangs up.
        self._socket = self._wire.socket
        self._loop.add_reader(self._socket, self._arrived)

    async def ask(self, statement: Statement, values: Sequence[str | int]) -> list[Row]:
        """The rows of a statement, of which no column is NULL.

        Raises:
            psycopg.Error: the server is gone, or did not like the statement.
        """
        if statement.name not in self._prepared:
            self._wire.send_prepare(statement.name, statement.text)
            await self._answer()
            self._prepared.add(statement.name)
        self._wire.send_query_prepared(
            statement.name,
            [str(value).encode() for value in values],
            # Text in its binary form has a length: it does not end at a zero.
            [_BINARY if isinstance(value, str) else _TEXT for value in values],
            _BINARY,
        )
        return _rows(await self._answer(), statement)

    async def close(self) -> None:
        self._leave()
        await self._connection.close()

    async def _answer(self) -> PGresult:
        self._answered = self._loop.create_future()
        self._send()
        result = await self._answered
        if result.status not in _GOOD:
            raise psycopg.OperationalError(result.get_error_message())
        return result

    def _send(self) -> None:
        """Send what waits to be sent; what the socket does not take at once, later."""
        try:
            if self._wire.flush():
                self._loop.add_writer(self._socket, self._send)
            else:
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._break(error)

    def _arrived(self) -> None:
        try:
            self._wire.consume_input()
            while not self._wire.is_busy():
                result = self._wire.get_result()
                if result is None:
                    self._deliver()
                    return
                self._results.append(result)
        except psycopg.Error as error:
            self._break(error)

    def _deliver(self) -> None:
        if self._results and self._answered is not None and not self._answered.done():
            self._answered.set_result(self._results[0])
        self._results.clear()

    def _break(self, error: psycopg.Error) -> None:
        self._leave()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)

    def _leave(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)


def _rows(result: PGresult, statement: Statement) -> list[Row]:
    columns = list(enumerate(statement.columns))
    return [
        tuple(make(result.get_value(row, column) or b"") for column, make in columns)
        for row in range(result.ntuples)
    ]

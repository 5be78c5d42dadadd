"""A connection to a server that is not trusted: all of it together has a deadline and a bound."""

import io
import socket
import time
from types import TracebackType
from typing import Self

PIECE = 65_536


class TooMuch(OSError):
    """The server sends more than anybody reads."""


class BoundedConnection:
    """Connected when it is made; whatever is late or too much raises ``OSError``.

    ``seconds`` are for everything from the connecting on, so one that drips is late, too. ``most``
    are the bytes that are read.
    """

    def __init__(self, address: str, port: int, seconds: float, most: int) -> None:
        self._deadline = time.monotonic() + seconds
        self._left = self._most = most
        self._socket = socket.create_connection((address, port), seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._wait_no_longer()
        self._socket.sendall(data)

    def receive(self, most: int = PIECE) -> bytes:
        """What comes next; empty at the end."""
        self._wait_no_longer()
        piece = self._socket.recv(most)
        self._left -= len(piece)
        if self._left < 0:
            raise TooMuch(f"sends more than {self._most} bytes")
        return piece

    def makefile(self, _: str = "rb") -> io.BufferedReader:
        """For the standard library's parser of HTTP, which takes this for a socket."""
        return io.BufferedReader(_Received(self))

    def _wait_no_longer(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)


class _Received(io.RawIOBase):
    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._connection.receive(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

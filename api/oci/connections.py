"""Connections of clients that reach the gateway without nginx: bounded heads, and no endless ones.

Uvicorn's own protocol takes headers of any size, and waits for their end for ever.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.oci.errors import OciError

MAX_HEAD = 32 * 1024
"""Bytes of a request's line and headers; a token has at most 16 KiB of them."""
HEAD_SECONDS = 30.0
"""So long a client may take from its connection, or from a request's first byte, to the end of the
request's headers."""
_TOO_LARGE = OciError(431, "UNSUPPORTED", f"a request's headers may have {MAX_HEAD} bytes")
_TOO_SLOW = OciError(408, "UNSUPPORTED", "the request's headers did not arrive in time")


class HeadTooLarge(ValueError):
    """Ends the parser's work on a request."""


class BoundedConnection(HttpToolsProtocol):
    """Refuses a head that is too large (431) or too slow (408), and closes the connection."""

    head_seconds: ClassVar[float] = HEAD_SECONDS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.url, self.headers = b"", []
        self._in_head = True
        """Between requests, too: then the next head has not begun."""
        self._seen = 0
        """Bytes of this head at the most; what follows it may be among them."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._seen += len(data)
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._seen > MAX_HEAD:
            self._refuse(_TOO_LARGE)
        elif self._deadline is None and self._seen:
            self._wait()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._rest()
        if self._seen > MAX_HEAD and self._head_size() > MAX_HEAD:
            raise HeadTooLarge
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._seen = True, 0

    def send_400_response(self, msg: str) -> None:
        if self._seen > MAX_HEAD and self._head_size() > MAX_HEAD:
            self._refuse(_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._late)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._seen:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, fault: OciError) -> None:
        """Answer, unless an answer is on its way already, and close."""
        if self.cycle is None or self.cycle.response_complete:
            reply = fault.reply()
            told = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
            lines = [b"%b: %b\r\n" % one for one in (*told, (b"connection", b"close"))]
            self.transport.write(b"".join((STATUS_LINE[fault.status], *lines, b"\r\n", reply.body)))
        self.transport.close()

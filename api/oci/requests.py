"""A request as the handlers read it; nothing is parsed before it is asked for."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from api.oci.errors import OciError
from api.oci.routes import Route
from fleetwide.registry.scopes import Access

MAX_QUERY = 8192


def _everything(_access: Access) -> bool:
    return True


class Disconnected(Exception):
    """The client went away before its request was whole; there is nobody to answer."""


class Request:
    """One request: its route, its headers, and its body as it arrives."""

    __slots__ = (
        "_query", "allowed", "by", "headers", "method", "receive", "route", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, route: Route) -> None:
        self.scope = scope
        self.receive = receive
        self.route = route
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.by = ""
        """The caller's account; empty where nobody is asked for one."""
        self.allowed: Callable[[Access], bool] = _everything
        """What else the caller may do than what the request needs."""
        self._query: dict[str, list[str]] | None = None

    @property
    def repository(self) -> str:
        return self.route.repository

    @property
    def reference(self) -> str:
        return self.route.reference

    def header(self, name: bytes) -> str:
        """The header's text, empty when it was not sent."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        """All values of each parameter.

        Raises:
            OciError: 414 for a query that no client would send.
        """
        if self._query is None:
            self._query = query_of(self.scope["query_string"])
        return self._query

    def parameter(self, name: str) -> str | None:
        """The first value of a parameter of the query; None when it was not given."""
        values = self.query.get(name)
        return values[0] if values else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces that arrive.

        Raises:
            Disconnected: the client went away in the middle.
        """
        more = True
        while more:
            message: Any = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            more = message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk

    async def body(self, limit: int, what: str = "a manifest") -> bytes:
        """The whole body, which is ``what`` and may have ``limit`` bytes.

        Raises:
            OciError: 413 when it has more, however it says or hides that.
            Disconnected: the client went away in the middle.
        """
        too_large = OciError(413, "SIZE_INVALID", f"{what} may have {limit} bytes")
        length = self.header(b"content-length")
        if length.isdecimal() and int(length[:20]) > limit:
            raise too_large
        pieces, size = [], 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise too_large
            pieces.append(chunk)
        return b"".join(pieces)


def query_of(raw: bytes) -> dict[str, list[str]]:
    if len(raw) > MAX_QUERY:
        raise OciError(414, "UNSUPPORTED", f"a query may have {MAX_QUERY} bytes")
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise OciError(400, "UNSUPPORTED", "the query cannot be read") from error

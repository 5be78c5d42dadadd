"""Answers of servers that are not trusted: what is read whole has a bound, and none waits forever.

As hooks of a client, so that they see what it reads by itself, too: challenges, redirects, tokens.
"""

from collections.abc import Iterator
from typing import Any

import httpx2

from fleetwide.errors import RegistryUnavailable

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
PLAIN = {"Accept-Encoding": "identity"}
"""A few compressed bytes could become any number of plain ones."""
MAX_ANSWER = 5 * 1024**2
"""Bytes; a manifest has at most 4 MiB, at Distribution, too, and so has a page of a list."""
MAX_REMARK = 1024**2
"""Bytes of everything else: tokens, errors, the bodies of redirects."""
ANSWER: dict[str, Any] = {"bound": MAX_ANSWER}
"""Extensions of a request whose answer is read whole."""
STREAM: dict[str, Any] = {"bound": None}
"""Extensions of a request whose answer is read in pieces."""


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, bound: int, host: str) -> None:
        self._stream, self._left, self._host = stream, bound, host

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._left -= len(piece)
            if self._left < 0:
                raise RegistryUnavailable(f"{self._host} answers more than a registry would")
            yield piece

    def close(self) -> None:
        self._stream.close()


def set_timeout(request: httpx2.Request) -> None:
    """Requests that an ``Auth`` makes have none of their own."""
    request.extensions.setdefault("timeout", TIMEOUT.as_dict())


def set_bound(response: httpx2.Response) -> None:
    """Let the reading raise ``RegistryUnavailable`` when more comes than the request expects."""
    bound = response.request.extensions.get("bound", MAX_REMARK)
    if not response.is_success:
        bound = MAX_REMARK
    if bound is None:
        return
    # Who compresses unasked is not unpacked.
    response.headers.pop("Content-Encoding", None)
    assert isinstance(response.stream, httpx2.SyncByteStream)
    response.stream = _Bounded(response.stream, bound, response.request.url.host)

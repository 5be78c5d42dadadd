"""Counts of requests for Prometheus, on an address of their own."""

import asyncio
from collections import Counter

from fleetwide.errors import InvalidInput

_HEAD = (
    "# HELP fleetwide_registry_requests_total Requests to the registry's gateway.\n"
    "# TYPE fleetwide_registry_requests_total counter\n"
)


class RequestCounts:
    """Requests by what they were about, method and status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()

    def note(self, kind: str, method: str, status: int) -> None:
        self._counts[kind, method, status] += 1

    def text(self) -> str:
        """The counts in Prometheus' text format."""
        lines = [
            f'fleetwide_registry_requests_total{{route="{kind}",method="{method}",'
            f'status="{status}"}} {count}\n'
            for (kind, method, status), count in sorted(self._counts.items())
        ]
        return _HEAD + "".join(lines)


async def serve(counts: RequestCounts, address: str) -> asyncio.Server:
    """Answer every request on ``host:port`` with the counts.

    Raises:
        InvalidInput: the address is none.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInput.for_field("metrics_address", "must be host:port", given=address)

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(counts.text()))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or does not speak HTTP
        finally:
            writer.close()

    return await asyncio.start_server(reply, host, int(port))


def _response(text: str) -> bytes:
    body = text.encode()
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body

"""Answers as they go out: status, headers, bytes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
API_VERSION = (b"docker-distribution-api-version", b"registry/2.0")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``size`` is what a HEAD says of a body that is not sent."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    size: int | None = None


def header(name: str, value: str) -> Header:
    """A header as ASGI wants it; values are ASCII, anything else is replaced."""
    return name.lower().encode(), value.encode("ascii", "replace")


def json_reply(status: int, document: Any, headers: Iterable[Header] = ()) -> Reply:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Reply(status, [JSON, *headers], body)


def warning(text: str) -> Header:
    """What clients print beside the result; ``text`` has no quotes."""
    return b"warning", f'299 - "{text}"'.encode("ascii", "replace")

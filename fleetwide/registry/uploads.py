"""Chunks of an upload: what the specification says of their order; pure.

Distribution 2.8 takes chunks in any order and answers bad ranges wrongly. Its upload URLs carry
how far the upload is (``_state``: a signature of 32 bytes, then JSON), so that can be read here
without asking it. The signature is Distribution's to check: a forged state is unknown there.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass

SIGNATURE_BYTES = 32
_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d{1,19}|\*))?", re.ASCII)


@dataclass(frozen=True)
class Chunk:
    """A chunk's first and last byte in the blob, both inclusive."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def chunk_of(content_range: str) -> Chunk | None:
    """What a Content-Range says; None where it says nothing that can be."""
    match = _RANGE.fullmatch(content_range.strip())
    if match is None:
        return None
    chunk = Chunk(int(match[1]), int(match[2]))
    return chunk if chunk.size > 0 else None


def offset_of(state: str) -> int | None:
    """Bytes that an upload has by its state; None for a state that cannot be Distribution's."""
    try:
        raw = base64.b64decode(state + "=" * (-len(state) % 4), altchars=b"-_", validate=True)
        offset = json.loads(raw[SIGNATURE_BYTES:])["Offset"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return None
    return offset if isinstance(offset, int) and offset >= 0 else None


def in_order(content_range: str, length: int | None, offset: int) -> bool:
    """Whether a chunk begins where the upload ends and is as long as it says.

    ``length`` is the request's Content-Length; None where it has none (chunked transfer).
    """
    chunk = chunk_of(content_range)
    if chunk is None or chunk.first != offset:
        return False
    return length is None or length == chunk.size


def received_range(offset: int) -> str:
    """The Range header of an upload that has ``offset`` bytes."""
    return f"0-{max(offset - 1, 0)}"

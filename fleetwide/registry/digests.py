"""Digests as OCI writes them: ``sha256:`` and 64 hexadecimal digits."""

import hashlib
import json
from typing import Any

PREFIX = "sha256:"


def digest_of(data: bytes) -> str:
    """The OCI digest of ``data``."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The 64 hexadecimal digits of an OCI digest."""
    return digest.removeprefix(PREFIX)


def canonical_json(document: Any) -> bytes:
    """JSON with sorted keys and no spaces, so that equal documents have equal digests."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()

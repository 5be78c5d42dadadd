"""How a container ended first: Docker may note one end twice, and the second one hides the first.

A container that ends by itself while it is being stopped has its end noted with its own code, and
again, with 255, once the stop finds nothing to signal. What is inspected later says 255.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from docker import APIClient

UNKNOWN_CODE = 255
"""What Docker notes where it knows no exit code; a program may end with it, too."""


@dataclass(frozen=True)
class End:
    """The exit code, and when Docker heard of it."""

    exit_code: int
    at: datetime


def first_end(events: Iterable[dict[str, Any]]) -> End | None:
    """The earliest of a container's ends; None where none is remembered."""
    first = min(events, key=lambda event: int(event["timeNano"]), default=None)
    if first is None:
        return None
    code = int(first["Actor"]["Attributes"]["exitCode"])
    return End(code, datetime.fromtimestamp(first["timeNano"] / 1e9, UTC))


def remembered_end(api: APIClient, container: str) -> End | None:
    """The first end of a container (its id) that the engine remembers: it keeps 256 events."""
    # The SDK hands on what it is given; a whole second would leave out what was told in this one.
    now: Any = f"{time.time():.9f}"
    stream = api.events(
        since=1,
        until=now,
        filters={"type": ["container"], "event": ["die"], "container": [container]},
        decode=True,
    )
    try:
        return first_end(stream)
    finally:
        stream.close()

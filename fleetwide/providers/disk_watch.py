"""Ends containers that wrote more than their disk, where the storage driver has no quotas."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from threading import Lock
from typing import Protocol

from fleetwide.models.containers import RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.ticker import Ticker

MEGABYTE = 1000**2


class Writer(Protocol):
    """An attempt, as far as its disk goes."""

    @property
    def name(self) -> str: ...

    @property
    def run(self) -> RunContainer: ...

    def end(self, reason: EndReason, why: str = "") -> None: ...


class Measured(Protocol):
    """What can say how much attempts wrote."""

    def written(self) -> Mapping[str, int]: ...


class DiskWatch:
    """Looks every ``interval`` seconds how much the attempts wrote: one question for all of them.

    A container may write as much as fits into an interval beyond its limit; the host's reserve is
    there for that.
    """

    def __init__(self, host: Measured, interval: float) -> None:
        self._host = host
        self._interval = interval
        self._ticker: Ticker[Writer] = Ticker("disk watch", self._look, interval)
        self._lock = Lock()
        self._known: Mapping[str, int] = {}
        self._asked = float("-inf")

    def watching(self, attempt: Writer) -> AbstractContextManager[None]:
        """Have an attempt looked at while the block runs."""
        return self._ticker.watching(attempt)

    def _look(self, attempt: Writer) -> None:
        written = self._written().get(attempt.name, 0)
        limit = attempt.run.container.resources.disk_bytes
        if written > limit:
            attempt.end(EndReason.DISK_LIMIT_EXCEEDED, sentence(written, limit))

    def _written(self) -> Mapping[str, int]:
        with self._lock:
            if time.monotonic() - self._asked > self._interval / 2:
                self._known = self._host.written()
                self._asked = time.monotonic()
            return self._known


def sentence(written: int, limit: int) -> str:
    """The evidence for people, with the setting that would have helped."""
    return (
        f"it has written {written / MEGABYTE:,.0f} MB and may write {limit / MEGABYTE:,.0f} MB "
        f"(container.resources.disk)"
    )

"""One thread that visits many items about once a second, however many there are."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class Ticker(Generic[Item]):
    """Calls ``visit(item)`` once per interval for every item that is being watched.

    An item is first visited when it is a whole interval old, so short work is never visited. The
    thread lives only while there is something to watch. A failing visit is logged and tried again
    at the next tick.
    """

    def __init__(self, name: str, visit: Callable[[Item], None], interval: float = 1.0) -> None:
        self._name = name
        self._visit = visit
        self._interval = interval
        self._lock = Lock()
        self._next: dict[int, tuple[float, Item]] = {}
        self._count = 0
        self._thread: Thread | None = None

    @contextmanager
    def watching(self, item: Item) -> Iterator[None]:
        """Have ``item`` visited while the block runs."""
        number = self._add(item)
        try:
            yield
        finally:
            with self._lock:
                del self._next[number]

    def _add(self, item: Item) -> int:
        with self._lock:
            self._count += 1
            self._next[self._count] = (time.monotonic() + self._interval, item)
            if self._thread is None:
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            return self._count

    def _run(self) -> None:
        while (pause := self._tick()) is not None:
            time.sleep(pause)

    def _tick(self) -> float | None:
        """Visit what is due; answers the seconds until the next is, None when all are gone."""
        for item in self._take_due():
            try:
                self._visit(item)
            except Exception:
                _log.warning("a visit of the %s thread failed", self._name, exc_info=True)
        with self._lock:
            if not self._next:
                self._thread = None
                return None
            soonest = min(due for due, _ in self._next.values())
            # Items of about the same age share a wake-up.
            return max(self._interval / 10, soonest - time.monotonic())

    def _take_due(self) -> list[Item]:
        now = time.monotonic()
        with self._lock:
            due = {number: item for number, (when, item) in self._next.items() if when <= now}
            self._next.update(
                (number, (now + self._interval, item)) for number, item in due.items()
            )
        return list(due.values())

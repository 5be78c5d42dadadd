"""One thread that visits many items about once a second, however many there are."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class Ticker(Generic[Item]):
    """Calls ``visit(item)`` once per interval for every item that is being watched.

    An item is first visited when it is a whole interval old, so short work is never visited. The
    thread lives only while there is something to watch. A failing visit is logged and tried again
    at the next tick. With more than one thread a slow visit holds up no other item; an item is
    never visited twice at a time.
    """

    def __init__(
        self, name: str, visit: Callable[[Item], None], interval: float = 1.0, *, threads: int = 1
    ) -> None:
        self._name = name
        self._visit = visit
        self._interval = interval
        self._threads = threads
        self._busy: set[int] = set()
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
        if self._threads == 1:
            self._tick_on(self._visit_one)
            return
        with ThreadPoolExecutor(self._threads, self._name) as pool:
            self._tick_on(lambda number, item: pool.submit(self._visit_one, number, item))

    def _tick_on(self, visit: Callable[[int, Item], object]) -> None:
        while (pause := self._tick(visit)) is not None:
            time.sleep(pause)

    def _visit_one(self, number: int, item: Item) -> None:
        try:
            self._visit(item)
        except Exception:
            _log.warning("a visit of the %s thread failed", self._name, exc_info=True)
        finally:
            with self._lock:
                self._busy.discard(number)

    def _tick(self, visit: Callable[[int, Item], object]) -> float | None:
        """Visit what is due; answers the seconds until the next is, None when all are gone."""
        for number, item in self._take_due().items():
            visit(number, item)
        with self._lock:
            if not self._next:
                self._thread = None
                return None
            soonest = min(due for due, _ in self._next.values())
            # Items of about the same age share a wake-up.
            return max(self._interval / 10, soonest - time.monotonic())

    def _take_due(self) -> dict[int, Item]:
        now = time.monotonic()
        with self._lock:
            due = {number: item for number, (when, item) in self._next.items() if when <= now}
            self._next.update(
                (number, (now + self._interval, item)) for number, item in due.items()
            )
            due = {number: item for number, item in due.items() if number not in self._busy}
            self._busy.update(due)
        return due

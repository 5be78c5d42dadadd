"""Calls that wait for the disk or compute outside the interpreter's lock, a few at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from fleetwide.providers.progress import INTERVAL_SECONDS

# So many for each core: enough that none waits for the thread that hands them out.
_AHEAD = 16


class SideBySide:
    """Takes calls; what one of them raises comes through at a later call, or at the end.

    ``tell`` is called a few times a second while there is something to wait for; when it raises,
    no call ought to go on for long: ``stopped`` says so.
    """

    def __init__(self, pool: ThreadPoolExecutor, limit: int, tell: Callable[[], None]) -> None:
        self.stopped = False
        self._pool = pool
        self._limit = limit
        self._tell = tell
        self._running: deque[Future[object]] = deque()

    def start(self, call: Callable[[], object]) -> None:
        """Have ``call`` made by another thread; waits while too many are on their way."""
        self._running.append(self._pool.submit(call))
        if len(self._running) > self._limit:
            self._end_first()

    def finish(self) -> None:
        """Wait for all calls."""
        while self._running:
            self._end_first()

    def _end_first(self) -> None:
        first = self._running.popleft()
        while not wait([first], INTERVAL_SECONDS).done:
            self._tell()
        first.result()


@contextmanager
def side_by_side(name: str, tell: Callable[[], None] = lambda: None) -> Iterator[SideBySide]:
    """For calls that have all ended when the block does, after an error too."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers, name) as pool:
        calls = SideBySide(pool, _AHEAD * workers, tell)
        try:
            yield calls
            calls.finish()
        except BaseException:
            calls.stopped = True
            raise

"""Wait for programs while reading what they write, so that none of them ever has to wait for us."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fleetwide.providers.progress import INTERVAL_SECONDS, Progress, Throttled

Sink = Callable[[bytes], None]
_PIECE = 65536
_MAX_PIPE = 1024**2
"""What a pipe can hold at the most (``/proc/sys/fs/pipe-max-size``)."""


@dataclass(frozen=True)
class _Source:
    """A pipe to read from, or (without a sink) the end of a program to notice."""

    descriptor: int
    sink: Sink | None


class Pump:
    """Reads the output of any number of programs; each has its standard output in a pipe."""

    def __init__(self, progress: Progress) -> None:
        self._progress = Throttled(progress)
        self._selector = selectors.DefaultSelector()
        self._ends: dict[int, int] = {}

    def add(self, process: "subprocess.Popen[bytes]", sink: Sink) -> None:
        """Hand what ``process`` writes to ``sink`` from now on."""
        assert process.stdout is not None
        output = process.stdout.fileno()
        self._selector.register(output, selectors.EVENT_READ, _Source(output, sink))
        end = os.pidfd_open(process.pid)
        self._ends[process.pid] = end
        self._selector.register(end, selectors.EVENT_READ, _Source(end, None))

    def remove(self, process: "subprocess.Popen[bytes]") -> None:
        """Read no more of ``process``."""
        assert process.stdout is not None
        self._drop(process.stdout.fileno())
        end = self._ends.pop(process.pid)
        self._drop(end)
        os.close(end)

    def close(self) -> None:
        for end in self._ends.values():
            os.close(end)
        self._selector.close()

    def until(self, done: Callable[[], bool], phrase: str, deadline: float) -> bool:
        """Read until ``done`` or the ``deadline`` (on the monotonic clock): which of them it was.

        ``done`` is asked whenever something was written or a program has ended.
        """
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._progress(phrase, None)
            self._read(min(left, INTERVAL_SECONDS))
        return True

    def drain(self, process: "subprocess.Popen[bytes]", sink: Sink) -> None:
        """Read what lies in the pipe of ``process`` now, but do not keep up with more."""
        assert process.stdout is not None
        output = process.stdout.fileno()
        os.set_blocking(output, False)
        with suppress(BlockingIOError):
            for _ in range(_MAX_PIPE // _PIECE):
                if data := os.read(output, _PIECE):
                    sink(data)

    def _read(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            source = key.data
            if source.sink is None:
                self._drop(source.descriptor)
            elif data := os.read(source.descriptor, _PIECE):
                source.sink(data)
            else:
                self._drop(source.descriptor)

    def _drop(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

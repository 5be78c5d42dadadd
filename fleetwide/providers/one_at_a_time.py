"""Locks by key, for threads that would otherwise do the same thing side by side."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

WAIT_SECONDS = 0.25


@dataclass
class _Entry:
    lock: Lock = field(default_factory=Lock)
    users: int = 0


class OneAtATime:
    """A lock for every key that somebody holds or waits for, and for no others."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._entries: dict[Hashable, _Entry] = {}

    @contextmanager
    def holding(self, key: Hashable, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the key's lock; ``waiting`` is called a few times a second until it is free."""
        with self._guard:
            entry = self._entries.setdefault(key, _Entry())
            entry.users += 1
        try:
            while not entry.lock.acquire(timeout=WAIT_SECONDS):
                waiting()
            try:
                yield
            finally:
                entry.lock.release()
        finally:
            with self._guard:
                entry.users -= 1
                if not entry.users:
                    del self._entries[key]

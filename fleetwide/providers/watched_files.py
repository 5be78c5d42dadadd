"""Files of rules that may change while a process runs."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

Content = TypeVar("Content")
Stamp = tuple[int, int, int]


class WatchedFile(Generic[Content]):
    """What a file says, read anew when its time, size or inode has changed.

    Without a path it is always what ``read`` makes of None. Safe to share between threads.
    """

    def __init__(self, path: Path | None, read: Callable[[Path | None], Content]) -> None:
        self.path = path
        self._read = read
        self._lock = Lock()
        self._known: tuple[Stamp, Content] | None = None

    def current(self) -> Content:
        """What it says now; raises what ``read`` raises, and guesses nothing in its place."""
        stamp = self._look()
        with self._lock:
            if self._known is None or stamp is None or self._known[0] != stamp:
                content = self._read(self.path)
                self._known = (stamp or (-1, -1, -1), content)
            return self._known[1]

    def _look(self) -> Stamp | None:
        if self.path is None:
            return (0, 0, 0)
        try:
            found = self.path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)

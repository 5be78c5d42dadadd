"""The processes' log files: their last lines, and new lines as they come."""

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_POLL_SECONDS = 0.2


def tail(path: Path, lines: int) -> list[str]:
    """The last ``lines`` lines of file ``path``; none when there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []


class Follower:
    """New whole lines of one log file, across its rotation; starts at the file's end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = ""
        self._file = self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def _open(self) -> TextIO | None:
        try:
            return self._path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def lines(self) -> list[str]:
        """What was written since the last call, as whole lines."""
        text = self._rest + (self._file.read() if self._file else "")
        if self._rotated():
            self.close()
            self._file = self._open()
            text += self._file.read() if self._file else ""
        *whole, self._rest = text.split("\n")
        return whole

    def _rotated(self) -> bool:
        if self._file is None:
            return True
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def follow(followers: dict[str, Follower]) -> Iterator[tuple[str, str]]:
    """Name and line of everything new, for ever."""
    while True:
        for name, follower in followers.items():
            for line in follower.lines():
                yield name, line
        time.sleep(_POLL_SECONDS)

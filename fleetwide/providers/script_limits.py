"""Limits on what strangers' programs take of a builder: time, memory, processes and disk.

Install scripts, builds of sdists and scripts of OS specs run under them. Reaching a limit is the
program's end, even where it would have coped: what it made for want of something is no image.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fleetwide.errors import InstallTimedOut, LimitExceeded
from fleetwide.providers.cgroups import ControlGroup, limited
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.settings import Settings

LOOK_SECONDS = 1.0
"""How often the disk is looked at, at the most."""
_LOOK_SHARE = 0.1
"""Of the time that a program runs, what is spent on looking at its disk."""
_BLOCK = 4096
"""What an empty file takes too."""


@dataclass(frozen=True)
class ScriptLimits:
    """What one program may take, with everything that it starts."""

    seconds: float = 600.0
    memory: int = 2 * 1024**3
    """Bytes; files in /tmp and /run are memory."""
    processes: int = 1024
    disk: int = 10 * 1024**3
    """Bytes, counted as an image would hold them: holes in full, each file one block at least."""


def script_limits(settings: Settings) -> ScriptLimits:
    """The limits of this builder."""
    return ScriptLimits(
        seconds=settings.script_seconds,
        memory=settings.script_memory,
        processes=settings.script_processes,
        disk=settings.script_disk,
    )


class Bounds:
    """The watch over one program, from ``bounded``."""

    def __init__(
        self, limits: ScriptLimits, what: str, folder: Path, group: ControlGroup, progress: Progress
    ) -> None:
        self._limits = limits
        self._what = what
        self._folder = folder
        self._group = group
        self._progress = progress
        self._before = self._taken() if any(folder.iterdir()) else 0
        self._deadline = time.monotonic() + limits.seconds
        self._next_look = time.monotonic() + LOOK_SECONDS

    def command(self, words: Sequence[str]) -> list[str]:
        """``words`` under the limits that the kernel keeps."""
        return self._group.joined(["prlimit", f"--fsize={self._limits.disk}", "--core=0", *words])

    def progress(self, phrase: str, fraction: float | None) -> None:
        """For whatever runs the program: raises when a limit is reached, which ends it."""
        self._progress(phrase, fraction)
        if time.monotonic() > self._deadline:
            raise InstallTimedOut(
                f"{self._what} did not end within {self._limits.seconds:g} seconds; "
                f"last seen: {phrase}",
                hint="a script must not wait for a service, a network or an answer; "
                "where it only needs longer, on the builder: FLEETWIDE_SCRIPT_SECONDS=1200",
            )
        self._check_group()
        if time.monotonic() >= self._next_look:
            self.check()

    def check(self) -> None:
        """Look at everything now. Raises ``LimitExceeded``."""
        self._check_group()
        started = time.monotonic()
        if self._taken() - self._before >= self._limits.disk:
            raise self._exceeded(f"{_told(self._limits.disk)} of disk", "DISK", self._limits.disk)
        ended = time.monotonic()
        self._next_look = ended + max(LOOK_SECONDS, (ended - started) / _LOOK_SHARE)

    def _check_group(self) -> None:
        memory, processes = self._limits.memory, self._limits.processes
        if self._group.out_of_memory:
            raise self._exceeded(f"{_told(memory)} of memory", "MEMORY", memory)
        if self._group.out_of_processes:
            raise self._exceeded(f"{processes} processes", "PROCESSES", processes)

    def _exceeded(self, limit: str, setting: str, value: int) -> LimitExceeded:
        return LimitExceeded(
            f"{self._what} may take {limit} and wanted more",
            hint=f"on the builder: FLEETWIDE_SCRIPT_{setting}={2 * value}",
        )

    def _taken(self) -> int:
        told = Throttled(self._progress)
        deleted = sum(_deleted_bytes(process) for process in self._group.members())
        return deleted + _tree_bytes(self._folder, lambda: told("measuring the changes", None))


@contextmanager
def bounded(limits: ScriptLimits, what: str, folder: Path, progress: Progress) -> Iterator[Bounds]:
    """Bounds for one program that writes below ``folder``; ``what`` it is, for people.

    Raises:
        LimitExceeded: the program reached a limit, by whatever exit code it ended.
    """
    with limited("script", memory=limits.memory, processes=limits.processes) as group:
        bounds = Bounds(limits, what, folder, group, progress)
        yield bounds
        bounds.check()


def _told(size: int) -> str:
    return f"{size / 1024**2:g} MiB"


def _tree_bytes(folder: Path, told: Callable[[], None]) -> int:
    """What lies below a folder; the program may be taking it away at the same time."""
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                told()
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
                    elif found.st_nlink > 1:
                        if (found.st_dev, found.st_ino) in linked:
                            continue
                        linked.add((found.st_dev, found.st_ino))
                    total += max(found.st_size, _BLOCK)
    return total


def _deleted_bytes(process: int) -> int:
    """Files without a name, which a process holds open: they take the disk all the same."""
    total = 0
    with suppress(OSError), os.scandir(f"/proc/{process}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat()
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    total += found.st_blocks * 512
    return total

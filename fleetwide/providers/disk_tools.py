"""Run a release's own disk tools on a disk that is being written."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.grub import grub_modules
from fleetwide.errors import PlatformError
from fleetwide.providers.progress import Progress
from fleetwide.providers.rooted import run_rooted
from fleetwide.providers.sandbox import Finished

DISK = "/work/disk.raw"
_TOLD_LINES = 8
_NO_SPACE = "No space left on device"
# FAT knows no earlier time, and the tools take 0 for "not given".
_EARLIEST = 315_532_800


@dataclass(frozen=True)
class Workbench:
    """A folder that the disk is written in, and the tools tree whose programs write it.

    The programs see the folder as ``/work`` and the time as ``epoch``; they have no network, and
    nothing else of the machine is there.
    """

    tools: Path
    folder: Path
    epoch: int

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    @property
    def time(self) -> int:
        """The time that the tools see, in seconds since 1970."""
        return max(self.epoch, _EARLIEST)

    def grub_modules(self, grub_platform: str) -> list[str]:
        """What goes into the core image that the tools' GRUB makes for a platform."""
        folder = self.tools / f"usr/lib/grub/{grub_platform}"
        return grub_modules(grub_platform, {path.stem for path in folder.glob("*.mod")})

    def attempt(
        self, phrase: str, script: str, progress: Progress, binds: Mapping[str, Path] | None = None
    ) -> Finished:
        """Run a shell script of the tools to its end, however it ends, telling ``phrase``."""
        return run_rooted(
            self.tools,
            ["sh", "-euc", script],
            binds={"work": self.folder, **(binds or {})},
            env={
                "E2FSPROGS_FAKE_TIME": str(self.time),
                "SOURCE_DATE_EPOCH": str(self.time),
                "MTOOLS_SKIP_CHECK": "1",
                "TZ": "UTC",
            },
            # The tools tell nothing of their own.
            progress=lambda _phrase, fraction: progress(phrase, fraction),
        )

    def run(self, phrase: str, script: str, progress: Progress) -> list[str]:
        """Run a shell script that must succeed; its last lines. Raises ``PlatformError``."""
        finished = self.attempt(phrase, script, progress)
        if finished.returncode != 0:
            raise tool_failure(script, finished, self.folder)
        return finished.lines


def tool_failure(script: str, finished: Finished, folder: Path) -> PlatformError:
    """The error for a tool that failed although the request is in order."""
    words = "\n".join(finished.lines[-_TOLD_LINES:])
    if _NO_SPACE in words:
        return no_space(folder)
    name = script.split(maxsplit=1)[0]
    return PlatformError(
        f"{name} failed (exit {finished.returncode}):\n{words}",
        hint="the tools tree needs e2fsprogs, fdisk, dosfstools, mtools and GRUB's -bin package",
    )


def no_space(folder: Path) -> PlatformError:
    return PlatformError(
        f"the builder has no space left in {folder.parent}",
        hint=f"df -h {folder.parent}",
    )


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turn "no space left" of our own writes into the error that says where."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(folder) from error
        raise

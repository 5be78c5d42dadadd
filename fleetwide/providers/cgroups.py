"""Limits on memory and processes by control groups, on the machines that let us have some.

A container with read-only control groups has none to give, and that is no fault: whoever asks gets
a group without folders, which limits nothing; the log says so once. Both versions of the interface
are known. Source: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of Linux.
"""

import itertools
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

MOUNT = Path("/sys/fs/cgroup")
_NAME = "fleetwide-{kind}-{pid}-{number}"
_OURS = re.compile(r"fleetwide-[a-z]+-(\d+)-\d+")
_REMOVAL_TRIES = 20
_numbers = itertools.count()
_log = logging.getLogger(__name__)
# Out of namespaces "0" is whoever writes it, whatever number it has there.
_JOIN = 'until [ "$1" = -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class ControlGroup:
    """One group: a folder for both limits, a folder for each, or none."""

    folders: tuple[Path, ...] = ()

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of the group for want of memory."""
        return self._happened("oom_kill", "memory.events", "memory.oom_control")

    @property
    def out_of_processes(self) -> bool:
        """Whether the kernel refused the group a process."""
        return self._happened("max", "pids.events")

    def _happened(self, event: str, *names: str) -> bool:
        """Whether the counter of an event, in the first file that is there, is not zero."""
        for folder in self.folders:
            for name in names:
                with suppress(OSError):
                    text = (folder / name).read_text()
                    found = re.search(rf"^{event} (\d+)", text, re.MULTILINE)
                    return found is not None and found[1] != "0"
        return False

    def members(self) -> list[int]:
        """The processes of the group at this moment."""
        for folder in self.folders:
            with suppress(OSError):
                return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
        return []

    def joined(self, command: Sequence[str]) -> list[str]:
        """The words that run ``command`` in the group, from its first instruction on."""
        return ["sh", "-euc", _JOIN, "sh", *map(str, self.folders), "--", *command]


@contextmanager
def limited(kind: str, *, memory: int, processes: int) -> Iterator[ControlGroup]:
    """A new group that may take ``memory`` bytes and ``processes``, removed after the block.

    Its processes must have ended by then. What an earlier process of ours left is removed too.
    """
    _sweep()
    name = _NAME.format(kind=kind, pid=os.getpid(), number=next(_numbers))
    if (MOUNT / "cgroup.controllers").exists():
        limits = {
            "memory.max": memory,
            "memory.swap.max": 0,
            "pids.max": processes,
        }
        with suppress(OSError):
            (MOUNT / "cgroup.subtree_control").write_text("+memory +pids")
        made = [_made(MOUNT / name, limits)]
    else:
        # Swap counts only where the kernel accounts for it, and its limit comes second.
        both = {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
        made = [
            _made(MOUNT / "memory" / name, both),
            _made(MOUNT / "pids" / name, {"pids.max": processes}),
        ]
    group = ControlGroup(tuple(folder for folder in made if folder))
    if not all(made):
        _tell_missing()
    try:
        yield group
    finally:
        for folder in group.folders:
            _remove(folder)


@cache
def _tell_missing() -> None:
    """Once: it will not change while we run."""
    _log.warning(
        "this machine gives us no control groups below %s: what programs of strangers take of "
        "memory and processes is not limited",
        MOUNT,
    )


def _made(folder: Path, limits: dict[str, int]) -> Path | None:
    try:
        folder.mkdir()
    except OSError:
        return None
    for name, limit in limits.items():
        with suppress(OSError):
            (folder / name).write_text(str(limit))
    return folder


def _remove(folder: Path) -> None:
    """Remove an empty group; the kernel may need a moment to forget its last process."""
    for _ in range(_REMOVAL_TRIES):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


def _sweep() -> None:
    for pattern in ("fleetwide-*", "memory/fleetwide-*", "pids/fleetwide-*"):
        for folder in MOUNT.glob(pattern):
            found = _OURS.fullmatch(folder.name)
            if found and not psutil.pid_exists(int(found[1])):
                with suppress(OSError):
                    folder.rmdir()

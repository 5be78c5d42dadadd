"""A builder's scratch folder: held by one process, and cleared of what a crash left in it."""

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleetwide.errors import Conflict

LOCK = ".lock"
# ioctl_iflags(2); the flag is that of `chattr +T`.
GET_FLAGS, SET_FLAGS, TOP_OF_HIERARCHIES = 0x80086601, 0x40086602, 0x00020000
KEPT = frozenset({LOCK, "apt", "bases", "disks", "failed", "pool", "tools", "uploads"})


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Hold ``folder`` while the block lasts; work folders of a killed process are removed first.

    Nothing of value is lost: a build that is tried again starts from an empty work folder anyway.

    Raises:
        Conflict: another builder on this machine holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"another builder uses {folder}",
                hint="give each builder on a machine its own FLEETWIDE_BUILDER_DIR",
            ) from error
        for path in folder.iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path, ignore_errors=True)
        _spread(folder)
        yield folder


def _spread(folder: Path) -> None:
    """Have ext4 put the work folders, which have nothing to do with each other, far apart.

    Otherwise each lies where the one before was removed, and without a journal ext4 steps over
    every file number that was freed in the last minutes: a new file then takes half a millisecond.
    Other file systems refuse the flag and do without.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            (flags,) = struct.unpack("i", fcntl.ioctl(descriptor, GET_FLAGS, b"\0" * 4))
            fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("i", flags | TOP_OF_HIERARCHIES))
    finally:
        os.close(descriptor)

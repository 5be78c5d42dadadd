"""A builder's scratch folder: held by one process, and cleared of what a crash left in it."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetwide.errors import Conflict

LOCK = ".lock"
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
        yield folder

"""One process at a time, by a lock file; whoever waits says so and can be cancelled."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetwide.providers.progress import INTERVAL_SECONDS, Progress


@contextmanager
def locked(path: Path, progress: Progress, phrase: str) -> Iterator[None]:
    """Hold the lock file at ``path`` while the block lasts; ``phrase`` is told while waiting.

    The kernel lets the lock go when its holder dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(phrase, None)
                time.sleep(INTERVAL_SECONDS)
            else:
                break
        yield

"""The guard of a container host: stops containers whose lease nobody could renew.

A process of its own, started by the host worker and not ended with it: it holds also when the
worker was killed or frozen, or when the container engine does not answer. It needs nothing but
the standard library, no network, no database, and no credentials; it ends by itself once there is
no worker and no lease any more.
"""

import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from fleetwide.containers.leases import Lease
from fleetwide.providers.fences import Fence
from fleetwide.providers.lease_folder import GUARD_LOCK, LeaseFolder, boot_id, boot_time

TURN_SECONDS = 0.5
HOLD_SECONDS = 2.0
LEAVE_SECONDS = 5.0
FORGET_SECONDS = 3600.0
"""After its end a lease of no container is kept for so long while a worker lives."""
PREFERRED = "-900"
"""For the kernel, when memory is short: rather anything else."""
_log = logging.getLogger("fleetwide.guard")


class Guard:
    """Looks at all leases again and again; stops what must not run any more."""

    def __init__(
        self, folder: LeaseFolder, fence: Fence, clock: Callable[[], float] = boot_time
    ) -> None:
        self._folder = folder
        self._fence = fence
        self._clock = clock
        self._boot = boot_id()
        self._busy: dict[str, threading.Thread] = {}
        self._looked: dict[str, float] = {}

    def turn(self) -> int:
        """Look at every lease once; how many there are."""
        leases = self._folder.all()
        there = {lease.name for lease in leases}
        self._looked = {name: at for name, at in self._looked.items() if name in there}
        for lease in leases:
            if lease.boot_id != self._boot:
                self._folder.drop(lease.name)  # what it stands for ended with that boot
            elif lease.is_over(self._boot, self._clock()):
                self._close(lease)
            else:
                self._looked.pop(lease.name, None)
        return len(leases)

    def _close(self, lease: Lease) -> None:
        """Stop what runs of a lease that is over.

        In a thread of its own: many may be over at the same moment, and each answer takes seconds
        where the engine hangs. It is looked at again and again: a worker that was frozen may start
        a container late.
        """
        if self._is_busy(lease.name):
            return
        now = self._clock()
        if now - self._looked.get(lease.name, -HOLD_SECONDS) < HOLD_SECONDS:
            return
        self._looked[lease.name] = now
        thread = threading.Thread(target=self._look, args=(lease,), daemon=True)
        self._busy[lease.name] = thread
        thread.start()

    def _is_busy(self, name: str) -> bool:
        thread = self._busy.get(name)
        if thread is not None and not thread.is_alive():
            del self._busy[name]
            return False
        return thread is not None

    def _look(self, lease: Lease) -> None:
        if self._fence.runs(lease):
            self._stop(lease)
        elif self._fence.has_none(lease):
            self._forget(lease)

    def _stop(self, lease: Lease) -> None:
        fresh = self._still_over(lease)
        if fresh is None:
            return
        silent = self._clock() - fresh.renewed_at
        _log.warning("stopping %s: its lease was not renewed for %.1f s", fresh.name, silent)
        self._folder.mark_fenced(fresh.name)
        self._fence.stop(lease)

    def _forget(self, lease: Lease) -> None:
        """Drop a lease of no container; not while a worker may be on its way to one."""
        fresh = self._still_over(lease)
        if fresh is None:
            return
        forgotten = self._clock() - fresh.ends_at >= FORGET_SECONDS
        if forgotten or not self._folder.has_worker():
            self._folder.drop(fresh.name)

    def _still_over(self, lease: Lease) -> Lease | None:
        """The lease as it is now; None when it was renewed or given back in this very moment."""
        fresh = self._folder.get(lease.name)
        return fresh if fresh and fresh.is_over(self._boot, self._clock()) else None


def take_lock(folder: Path) -> TextIO | None:
    """The lock that makes this the only guard of the folder; None when there is one."""
    path = folder / GUARD_LOCK
    path.touch()
    lock = path.open("r+")  # not to append: the beat is written over and over
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def beat(lock: TextIO) -> None:
    """Tell the worker that the guard is at work: its pid, and when."""
    os.pwrite(lock.fileno(), f"{os.getpid():>10} {boot_time():>20.3f}\n".encode(), 0)


def watch(folder: LeaseFolder, guard: Guard, lock: TextIO) -> None:
    """Until there is nothing to guard any more, or the folder is gone."""
    needed = time.monotonic()
    while time.monotonic() - needed < LEAVE_SECONDS:
        beat(lock)
        try:
            if guard.turn() or folder.has_worker():
                needed = time.monotonic()
        except FileNotFoundError:
            return
        except OSError:
            _log.exception("a look at the leases failed")
            needed = time.monotonic()
        time.sleep(TURN_SECONDS)


def main(arguments: list[str]) -> None:
    """``python -m workers.guard FOLDER DOCKER_URL``."""
    folder, docker_url = LeaseFolder(Path(arguments[0])), arguments[1]
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(PREFERRED)
    lock = take_lock(folder.folder)
    if lock is None:
        return
    fence = Fence(docker_url)
    threading.Thread(target=fence.learn, daemon=True).start()
    _log.info("guarding the containers of %s", folder.folder)
    watch(folder, Guard(folder, fence), lock)


if __name__ == "__main__":
    main(sys.argv[1:])

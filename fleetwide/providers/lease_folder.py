"""A host's leases as files, which a killed worker leaves to the guard and to the next worker.

Only the standard library is used here: the guard imports this.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleetwide.containers.leases import Lease

LEASE = ".lease"
FENCED = ".fenced"
SPARE = " " * 16
"""Behind each lease: a later time may have more digits."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
WORKER_LOCK = "worker.lock"
GUARD_LOCK = "guard.lock"


def boot_id() -> str:
    """Names this boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def boot_time() -> float:
    """Seconds since this machine booted, sleep included; setting the clock does not move it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseFolder:
    """One file per lease; a second one beside it says that the guard has stopped its containers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[int, Lease]] = {}

    def write(self, lease: Lease) -> None:
        """Take or renew a lease; readers see the old one or the new one, whole.

        On a full disk a lease that is there is renewed in its own place, which needs no room: else
        the guard would stop all that runs. Raises ``OSError`` where one cannot be taken.
        """
        path = self.folder / f"{lease.name}{LEASE}"
        fresh = path.with_suffix(f".{os.getpid()}.new")
        try:
            fresh.write_text(lease.to_json() + SPARE)
            fresh.replace(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            if error.errno not in NO_ROOM:
                raise
            _overwrite(path, lease.to_json(), error)

    def drop(self, name: str) -> None:
        """End a lease; its containers are gone."""
        for suffix in (LEASE, FENCED):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)

    def get(self, name: str) -> Lease | None:
        """The lease as it is now; None when there is none."""
        try:
            return Lease.from_json((self.folder / f"{name}{LEASE}").read_text())
        except (OSError, ValueError):
            return None

    def all(self) -> list[Lease]:
        """Every lease; a file is read again only when it has changed.

        Raises ``FileNotFoundError`` when the folder is gone.
        """
        found: dict[str, tuple[int, Lease]] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(LEASE):
                    with suppress(OSError, ValueError):
                        found[entry.name] = self._fresh(entry)
        self._read = found
        return [lease for _, lease in found.values()]

    def _fresh(self, entry: os.DirEntry[str]) -> tuple[int, Lease]:
        changed = entry.stat().st_mtime_ns
        known = self._read.get(entry.name)
        if known is not None and known[0] == changed:
            return known
        return changed, Lease.from_json(Path(entry.path).read_text())

    def mark_fenced(self, name: str) -> None:
        """Note, before it is done, that the containers of a lease are being stopped."""
        (self.folder / f"{name}{FENCED}").touch()

    def is_fenced(self, name: str) -> bool:
        """Whether the containers were stopped because the lease was not renewed."""
        return (self.folder / f"{name}{FENCED}").exists()

    @contextmanager
    def held_by_worker(self) -> Iterator[None]:
        """Tell the guard for the length of the block, or until it dies, that a worker lives."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / WORKER_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def has_worker(self) -> bool:
        """Whether any worker of this host lives."""
        with (self.folder / WORKER_LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _overwrite(path: Path, text: str, full: OSError) -> None:
    """Write over a file within the bytes that it has; a reader in between sees no lease for once.

    Raises ``full`` where it is not there, or too short.
    """
    try:
        with path.open("r+b") as file:
            room = os.fstat(file.fileno()).st_size
            content = text.encode().ljust(room)
            if len(content) > room:
                raise full
            os.pwrite(file.fileno(), content, 0)
    except FileNotFoundError:
        raise full from None

"""Since when a host's container engine has been up, and when a container began to run.

What ran before the engine came up was taken down with it.
"""

import os
import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from fleetwide.containers.outcome import ContainerState
from fleetwide.providers.lease_folder import boot_time

_UNIX = "unix://"
_CREDENTIALS = struct.Struct("3i")
"""Linux's ``ucred``: process, user, group."""
_INIT = 1
_START_TIME = 19
"""The 22nd field of ``/proc/PID/stat``, counted behind the name, which is the second."""


def up_since(docker_url: str, away_at: datetime | None) -> datetime:
    """The latest of: the machine's start, the engine's, and when the engine did not answer."""
    started = [datetime.fromtimestamp(psutil.boot_time(), UTC)]
    engine = _started(docker_url)
    started += [one for one in (engine, away_at) if one is not None]
    return max(started)


def _started(docker_url: str) -> datetime | None:
    """When the process began that listens on the engine's socket; None when that is not seen.

    Under systemd's socket activation it is systemd that listens.
    """
    if not docker_url.startswith(_UNIX):
        return None
    with suppress(OSError, psutil.Error), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(2)
        asking.connect(docker_url.removeprefix(_UNIX))
        told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, _, _ = _CREDENTIALS.unpack(told)
        if pid > _INIT:
            return datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    return None


def began(pid: int, container: str) -> float | None:
    """When a container's first process started, in seconds since the machine's boot.

    Sleep is included, and setting the clock does not move it. None where it does not run, or not
    among the processes that are seen here: a daemon on another machine has numbers of its own.
    """
    process = Path("/proc", str(pid))
    with suppress(OSError, ValueError, IndexError):
        if pid > _INIT and container in (process / "cgroup").read_text():
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            return int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    return None


def age_of(found: ContainerState) -> float:
    """For how many seconds a container has run; one that was only made has not.

    Where only the engine's time of day is known, a clock that was set meanwhile is believed.
    """
    if found.started_at is None:
        return 0.0
    if found.began is not None:
        return max(0.0, boot_time() - found.began)
    return max(0.0, (datetime.now(UTC) - found.started_at).total_seconds())

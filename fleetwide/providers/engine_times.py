"""Since when a host's container engine has been up: what ran before was taken down with it."""

import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime

import psutil

_UNIX = "unix://"
_CREDENTIALS = struct.Struct("3i")
"""Linux's ``ucred``: process, user, group."""
_INIT = 1


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

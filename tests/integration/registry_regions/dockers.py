"""Docker daemons of a test's own: other data, a bridge of their own, no firewall rules."""

import fcntl
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 40
ADD_BRIDGE, DELETE_BRIDGE, SET_FLAGS = 0x89A0, 0x89A1, 0x8914
"""Linux's calls for network interfaces (SIOCBRADDBR, SIOCBRDELBR, SIOCSIFFLAGS)."""


@contextmanager
def own_dockerd(folder: Path) -> Iterator[str]:
    """The URL of its socket."""
    url = f"unix://{folder}/docker.sock"
    # containerd's sockets lie there, and the path of a socket has at most 107 bytes.
    short = tempfile.mkdtemp(prefix="fw-")
    words = [
        "dockerd",
        *("--data-root", folder / "data"),
        *("--exec-root", short),
        *("--pidfile", folder / "pid"),
        *("--host", url),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    ]
    with own_bridge() as bridge, (folder / "log").open("wb") as log:
        command = [*map(str, words), "--bridge", bridge]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await(url, process, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(short, ignore_errors=True)


@contextmanager
def own_bridge() -> Iterator[str]:
    """A bridge's name. With ``--bridge none`` a daemon deletes docker0, which is another's."""
    name = f"fw-{secrets.token_hex(4)}"
    with socket.socket(socket.AF_UNIX) as control:
        fcntl.ioctl(control, ADD_BRIDGE, name.encode() + b"\0")
        try:
            yield name
        finally:
            down = struct.pack("16sH14x", name.encode(), 0)
            fcntl.ioctl(control, SET_FLAGS, down)
            fcntl.ioctl(control, DELETE_BRIDGE, name.encode() + b"\0")


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(url.removeprefix("unix://")):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(5)
        probe.connect(path)
        probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b"200 OK" in probe.recv(100)
    return False

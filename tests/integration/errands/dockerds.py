"""A Docker daemon of a test's own that can be killed and started again on the same data."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.registry_regions.dockers import answers, own_bridge

START_SECONDS = 40


class OwnDockerd:
    """Its data stays in ``data`` over all its lives."""

    def __init__(self, folder: Path, data: Path, bridge: str) -> None:
        self._folder = folder
        self._data = data
        self._process: subprocess.Popen[bytes]
        self.url = f"unix://{folder}/docker.sock"
        words = [
            "dockerd",
            *("--data-root", data),
            *("--exec-root", folder / "run"),
            *("--pidfile", folder / "pid"),
            *("--host", self.url),
            *("--bridge", bridge),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        ]
        self._command = [str(word) for word in words]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"{self._folder}/docker.sock"):
            assert self._process.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.1)

    def kill(self) -> None:
        """As a crash would: nothing is put away."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        # Their numbers may be others' by now, or a zombie's where nobody reaps orphans: containerd
        # dies with its daemon.
        for name in ("pid", "run/containerd/containerd.pid"):
            (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        # A daemon that was killed leaves the mounts of its life behind.
        for folder in (self._data, self._folder):
            for mounted in mounts_below(folder):
                subprocess.run(["umount", "--lazy", mounted], check=False)

    def _said(self) -> str:
        return (self._folder / "log").read_text()[-2000:]


def mounts_below(folder: Path) -> list[str]:
    """The innermost first; the mount of the folder itself only when it is a mount of itself."""
    found = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [
        fields[4]
        for fields in reversed(found)
        if fields[4].startswith(f"{folder}/") or (fields[4] == str(folder) and fields[3] != "/")
    ]


@contextmanager
def own_dockerd(data: Path) -> Iterator[OwnDockerd]:
    """One that runs; its sockets lie in a short path, for theirs has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="fw-"))
    with own_bridge() as bridge:
        daemon = OwnDockerd(folder, data, bridge)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.close()
            shutil.rmtree(folder, ignore_errors=True)

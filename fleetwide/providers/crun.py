"""Containers by crun that cannot outlive us: crun itself runs in namespaces that end with us.

crun is told of a container only when its root is mounted, so that what the root holds can be looked
at before. It does not manage control groups: the container stays in the one that it is started in.
"""

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fleetwide.errors import PlatformError
from fleetwide.providers.cgroups import ControlGroup
from fleetwide.providers.progress import INTERVAL_SECONDS, Progress
from fleetwide.providers.root_tree import RootTree
from fleetwide.providers.sandbox import end_isolated, isolation

ROOT = "merged"
HOSTS = "bundle/hosts"
CHANGES_SIZE = "512m"
"""What may be written to the root, which lies in memory."""
_CONTAINER = "smoke"
_PROCESS = "bundle/process.json"
_READY = b"ready\n"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_OPTIONS = "redirect_dir=off,metacopy=off,index=off"

_JOIN = 'for group in $CGROUPS; do echo 0 > "$group/cgroup.procs" || true; done'
# crun looks at the machine's control groups even when told to leave them alone, and gives up where
# both versions are in use; an empty place there satisfies it.
_SCRIPT = f"""
set -eu
{_JOIN}
[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t tmpfs -o size={CHANGES_SIZE},mode=0755 tmpfs "$1"
cd "$1"
mkdir base layer upper work {ROOT} bundle state
mount --bind "$2" base
mount --bind "$3" layer
mount -t overlay overlay -o lowerdir=layer:base,upperdir=upper,workdir=work,{_OPTIONS} {ROOT}
echo ready
read -r go
exec crun --root="$1/state" --cgroup-manager=disabled run --bundle=bundle --pid-file="$4" \
  {_CONTAINER} < /dev/null
"""


@dataclass(frozen=True)
class ContainerParts:
    """What a container is made of."""

    base: Path
    layer: Path
    """Unpacked, in the terms of overlayfs."""
    home: Path
    """An empty folder of the container's own."""
    group: ControlGroup


class Container:
    """A container that is prepared, and then started once.

    ``process`` ends when the container has ended; its standard output is that of the container,
    both streams in one.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", parts: ContainerParts) -> None:
        self.process = process
        self._parts = parts
        self._mounts = (parts.home / "mounts").resolve()
        self._init = psutil.Process(process.pid).children()[0]

    @property
    def mounts(self) -> Path:
        """The place that crun finds the root and the bundle in, in its own mount namespace."""
        return self._mounts

    def root(self) -> RootTree:
        """The root of the container before it is started, to be read and changed safely."""
        return RootTree(self._seen(ROOT))

    def start(self, config: Mapping[str, Any], hosts: str) -> None:
        """Start the container of an OCI ``config``; ``hosts`` is what ``HOSTS`` shall hold."""
        self._seen("bundle/config.json").write_text(json.dumps(config))
        self._seen(HOSTS).write_text(hosts)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as go:
            go.write(b"\n")

    @property
    def was_made(self) -> bool:
        """Whether crun could make the container; what it says otherwise is all that is written."""
        return _pid_file(self._parts).exists()

    def execute(self, process: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
        """Run one more OCI process in the container; its output is in a pipe.

        ``end_executed`` must be called on it.
        """
        self._seen(_PROCESS).write_text(json.dumps(process))
        crun = ["crun", f"--root={self._mounts / 'state'}", "--cgroup-manager=disabled"]
        return subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "sh", "-c", f'{_JOIN}; exec "$@"', "sh"),
                *("nsenter", "--target", str(self._init.pid), "--mount", "--pid", "--"),
                *(*crun, "exec", f"--process={self._mounts / _PROCESS}", _CONTAINER),
            ],
            env=_environment(self._parts.group),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def terminate(self) -> None:
        """Ask the container's first process to end; crun passes the signal on."""
        with suppress(psutil.NoSuchProcess):
            self._init.send_signal(signal.SIGTERM)

    def _seen(self, inside: str) -> Path:
        """A path of the mount namespace as this process can reach it."""
        return Path(f"/proc/{self._init.pid}/root{self._mounts}/{inside}")


@contextmanager
def prepared(parts: ContainerParts, progress: Progress) -> Iterator[Container]:
    """A container that waits to be started; nothing of it is left after the block.

    Raises:
        PlatformError: crun is missing, or the root cannot be mounted here.
    """
    if shutil.which("crun", path=_ENVIRONMENT["PATH"]) is None:
        raise PlatformError(
            "this builder has no crun, which starts images to test them",
            hint="apt-get install --no-install-recommends crun",
        )
    mounts = parts.home / "mounts"
    mounts.mkdir()
    places = [mounts.resolve(), parts.base.resolve(), parts.layer.resolve(), _pid_file(parts)]
    with subprocess.Popen(
        [*isolation(network=False), "sh", "-c", _SCRIPT, "sh", *map(str, places)],
        env=_environment(parts.group),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            _await_ready(process, progress)
            yield Container(process, parts)
        finally:
            end_isolated(process)


def end_executed(process: "subprocess.Popen[bytes]") -> int:
    """End what ``Container.execute`` started, where it has not ended, and answer its exit code."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid)
        for one in (*started.children(recursive=True), started):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    assert process.stdout is not None
    process.stdout.close()
    return process.wait()


def _await_ready(process: "subprocess.Popen[bytes]", progress: Progress) -> None:
    assert process.stdout is not None
    said = b""
    while not said.endswith(_READY):
        progress("mounting the image", None)
        if not select.select([process.stdout], [], [], INTERVAL_SECONDS)[0]:
            continue
        data = os.read(process.stdout.fileno(), 4096)
        said += data
        if not data:
            words = said.decode(errors="replace").strip()
            raise PlatformError(f"this builder cannot mount an image: {words}")


def _environment(group: ControlGroup) -> dict[str, str]:
    return {**_ENVIRONMENT, "CGROUPS": " ".join(map(str, group.folders))}


def _pid_file(parts: ContainerParts) -> Path:
    return parts.home.resolve() / "pid"

"""Stops containers by all means: asks the engine, and where it does not answer, the kernel.

Only the standard library is used here: the guard imports this.
"""

import http.client
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fleetwide.containers.leases import Lease

ENGINE_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 2.0
CGROUPS = Path("/sys/fs/cgroup")
POLL_SECONDS = 0.1
_log = logging.getLogger(__name__)


class EngineAway(Exception):
    """The container engine does not answer in time."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Fence:
    """The containers of leases, on the engine at ``docker_url`` (unix:// or tcp://)."""

    def __init__(self, docker_url: str, engine_root: Path = Path("/var/lib/docker")) -> None:
        self._url = urlsplit(docker_url)
        self.root = engine_root

    def look(self) -> bool:
        """Learn where the engine keeps its containers, for when it is away; whether it told."""
        with suppress(EngineAway):
            self.root = Path(self.ask("GET", "/info")["DockerRootDir"])
            return True
        return False

    def learn(self) -> None:
        """Look again and again until the engine has told."""
        while not self.look():
            time.sleep(LOOK_AGAIN_SECONDS)

    def has_none(self, lease: Lease) -> bool:
        """Whether the engine itself says that the lease has no container, running or not.

        An engine that is away says nothing, and its files may lie elsewhere.
        """
        try:
            return not (self._listed(lease, running=False) or self._on_disk(lease))
        except EngineAway:
            return False

    def stop(self, lease: Lease) -> None:
        """Stop the lease's containers with their grace, then kill what is left."""
        try:
            running = self._listed(lease, running=True)
        except EngineAway:
            _log.warning("the engine is away: killing the containers of %s", lease.name)
            self._kill_by_kernel(self._on_disk(lease), lease.grace)
            return
        for container in running:
            self._signal(container, "SIGTERM")
        if not self._ended(lease):
            self._kill(lease)

    def runs(self, lease: Lease) -> bool:
        """Whether any container of the lease runs."""
        try:
            return bool(self._listed(lease, running=True))
        except EngineAway:
            return any(_processes(one) for one in self._on_disk(lease))

    def _ended(self, lease: Lease) -> bool:
        """Whether they ended within the grace by themselves."""
        deadline = time.monotonic() + lease.grace
        while time.monotonic() < deadline:
            if not self.runs(lease):
                return True
            time.sleep(POLL_SECONDS)
        return not self.runs(lease)

    def _kill(self, lease: Lease) -> None:
        with suppress(EngineAway):
            for container in self._listed(lease, running=True):
                self._signal(container, "SIGKILL")
        # An engine that hangs says yes and does nothing.
        self._kill_by_kernel(self._on_disk(lease), 0)

    def _signal(self, container: str, name: str) -> None:
        with suppress(EngineAway):  # one that has ended meanwhile is refused, too
            self.ask("POST", f"/containers/{container}/kill?signal={name}")

    def _listed(self, lease: Lease, *, running: bool) -> list[str]:
        filters = {"label": [f"{key}={value}" for key, value in lease.labels.items()]}
        if running:
            filters["status"] = ["running", "paused", "restarting"]
        found = self.ask("GET", f"/containers/json?all=1&filters={quote(json.dumps(filters))}")
        return [item["Id"] for item in found]

    def ask(self, method: str, path: str) -> Any:
        """What the engine answers.

        Raises ``EngineAway`` also for a refusal: it says nothing of what runs.
        """
        with closing(self._connection()) as connection:
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise EngineAway(str(error)) from error
        if answer.status >= http.client.BAD_REQUEST:
            raise EngineAway(body.decode(errors="replace")[:200])
        return json.loads(body) if body else None

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.scheme == "unix":
            return _UnixConnection(self._url.path, ENGINE_SECONDS)
        return http.client.HTTPConnection(self._url.netloc, timeout=ENGINE_SECONDS)

    def _on_disk(self, lease: Lease) -> list[str]:
        """The ids of the lease's containers by the engine's own files."""
        found = []
        for path in self.root.glob("containers/*/config.v2.json"):
            with suppress(OSError, ValueError):
                labels = json.loads(path.read_text())["Config"]["Labels"] or {}
                if lease.labels.items() <= labels.items():
                    found.append(path.parent.name)
        return found

    def _kill_by_kernel(self, containers: list[str], grace: float) -> None:
        for container in containers:
            _send(container, signal.SIGTERM) if grace else None
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and any(_processes(one) for one in containers):
            time.sleep(POLL_SECONDS)
        for container in containers:
            _send(container, signal.SIGKILL)


def _send(container: str, number: signal.Signals) -> None:
    for pid in _processes(container):
        with suppress(OSError):
            os.kill(pid, number)


def _processes(container: str) -> list[int]:
    """The processes of a container, by its control groups."""
    found: set[int] = set()
    for folder in _groups(container):
        for path in folder.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(word) for word in path.read_text().split())
    return sorted(found - {0})


def _groups(container: str) -> Iterator[Path]:
    """The control groups that bear the container's id, wherever the engine put them."""
    for folder, names, _ in os.walk(CGROUPS):
        yield from (Path(folder, name) for name in names if container in name)

"""A small cell of real processes: Temporal, control worker, scheduler, and hosts on one dockerd.

A host may live in a network namespace of its own, which can be cut off from Temporal.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import docker
from sqlmodel import Session, col, select

from fleetwide.store import jobs
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow
from fleetwide.temporal.search_attributes import ALL
from tests.faults.docker_lives import Lives, Run
from tests.integration.containers_fixtures import DOCKER_URL, TinyRegistry, free_port

BIN = Path(sys.executable).parent


def until(condition: Any, seconds: float = 300, what: str = "") -> Any:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.1)
    return answer


@dataclass
class Cell:
    """The processes, and what they have written."""

    folder: Path
    registry: TinyRegistry
    temporal_port: int
    database_url: str
    docker_url: str = DOCKER_URL
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lives = Lives(str(self.state), self.docker_url)

    @property
    def store(self) -> Store:
        return Store.open(self.database_url)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def variables(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "FLEETWIDE_TEMPORAL_ADDRESS": f"127.0.0.1:{self.temporal_port}",
            "FLEETWIDE_DATABASE_URL": self.database_url,
            "FLEETWIDE_OBJECT_STORE_URL": f"file:{self.folder / 'objects'}",
            "FLEETWIDE_STATE_DIR": str(self.state),
            "FLEETWIDE_REGISTRY_URL": self.registry.url,
            "FLEETWIDE_REGISTRY_AUTH": "off",
            "FLEETWIDE_REGISTRY_UPKEEP": "false",
            # A cell has so few hosts that those of two tests would close the valve.
            "FLEETWIDE_LOST_VALVE_SHARE": "1",
            "FLEETWIDE_LOST_VALVE_HOSTS": "1000",
            "FLEETWIDE_DOCKER_URL": self.docker_url,
            **more,
        }

    def start(self, name: str, *command: str, **more: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.variables(**more), stdout=log, stderr=log
            )

    def start_temporal(self) -> None:
        """Start the server, or start it again: it keeps what it knows in a file."""
        attributes = [word for key in ALL for word in ("--search-attribute", f"{key.name}=Keyword")]
        self.start(
            "temporal",
            *(str(BIN / "temporal"), "server", "start-dev", "--headless", "--log-level", "warn"),
            *("--ip", "127.0.0.1", "--port", str(self.temporal_port), *attributes),
            *("--db-filename", str(self.folder / "temporal.db")),
        )
        until(lambda: listens(self.temporal_port), 60, "Temporal")

    def start_host(self, host_id: str, *prefix: str, **more: str) -> None:
        command = (*prefix, str(BIN / "fleetwide"), "worker", "host")
        self.start(
            host_id,
            *command,
            FLEETWIDE_HOST_ID=host_id,
            FLEETWIDE_HOST_CPU="1",
            FLEETWIDE_HOST_MEMORY=str(1024**3),
            **more,
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)
        if number is signal.SIGKILL:
            self.processes[name].wait()

    def temporal(self, *arguments: str) -> Any:
        address = f"127.0.0.1:{self.temporal_port}"
        done = subprocess.run(
            [str(BIN / "temporal"), *arguments, "--address", address, "-o", "json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def run_task(self, task_id: str, script: str, host: str, **disconnect: Any) -> None:
        """Start a task that prefers ``host``."""
        spec = {
            "app": "drill",
            "container": {
                "image": self.registry.image,
                "command": ["/bin/sh", "-c", script],
                "network": "none",
                "resources": {"cpu": 0.2, "memory": "32MiB"},
                "stop_grace_seconds": 0,
                "constraints": {"soft": {"machine_id": [host]}},
                "disconnect": disconnect,
            },
        }
        self.temporal(
            *("workflow", "start", "--type", "ContainerTask", "--task-queue", "control"),
            *("--workflow-id", f"task/{task_id}", "--input", json.dumps(spec)),
        )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """The books; nothing stays open behind it."""
        store = self.store
        try:
            with store.read() as session:
                yield session
        finally:
            store.engine.dispose()

    def attempts(self, task_id: str) -> list[AttemptRow]:
        with self.reading() as session:
            job = jobs.find(session, f"task/{task_id}")
            return list(jobs.attempts(session, job.id or 0)) if job else []

    def host_state(self, host_id: str) -> str:
        with self.reading() as session:
            query = select(HostRow.state).where(col(HostRow.host_id) == host_id)
            return session.exec(query).first() or ""

    def running(self, task_id: str) -> list[str]:
        """Names of the task's running containers."""
        return [_name(found) for found in self._containers(task_id, all=False)]

    def left(self, task_id: str) -> list[str]:
        """Names of all that is left of the task's containers."""
        return [_name(found) for found in self._containers(task_id, all=True)]

    def _containers(self, task_id: str, **how: Any) -> list[Any]:
        wanted = [f"fleetwide.workflow_id=task/{task_id}", f"fleetwide.platform={self.state}"]
        with closing(docker.APIClient(base_url=self.docker_url)) as api:
            found: list[Any] = api.containers(filters={"label": wanted}, **how)
        return found

    def ended(self, task_id: str, seconds: float = 120) -> list[AttemptRow]:
        """The attempts of a task whose last one has ended normally."""

        def over() -> list[AttemptRow]:
            rows = self.attempts(task_id)
            return rows if rows and rows[-1].reason == "normal" else []

        found: list[AttemptRow] = until(over, seconds, f"the end of {task_id}")
        return found

    def lives(self, task_id: str, *, main: bool = False) -> list[Run]:
        """When each container of the task ran, by Docker's events; or ``main`` ones alone."""
        lives = self._lives.of(f"task/{task_id}")
        return [life for life in lives if not main or "." not in life.name]

    def assert_never_twice_at_once(self, task_id: str) -> None:
        """No two containers of the task ran at the same moment."""
        lives = self.lives(task_id)
        assert lives
        for before, after in pairwise(lives):
            assert before.ended <= after.started, f"{before} and {after} ran side by side"

    def stop(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self._lives.close()
        for lock in self.state.glob("leases/*/guard.lock"):
            with suppress(OSError, ValueError):
                os.kill(int(lock.read_text().split()[0]), signal.SIGTERM)
        with closing(docker.APIClient(base_url=self.docker_url)) as api:
            label = f"fleetwide.platform={self.state}"
            for found in api.containers(all=True, filters={"label": [label]}):
                api.remove_container(found["Id"], force=True)


def _name(found: dict[str, Any]) -> str:
    """One that is being removed may have lost its name already."""
    names: list[str] = found["Names"] or [f"/{found['Id']}"]
    return names[0][1:]


@contextmanager
def cell(
    folder: Path, registry: TinyRegistry, database_url: str = "", docker_url: str = DOCKER_URL
) -> Iterator[Cell]:
    """A cell with Temporal, control worker and scheduler, and no host; on SQLite by default."""
    url = database_url or f"sqlite:///{folder / 'fleetwide.db'}"
    made = Cell(folder, registry, free_port(), url, docker_url)
    store = made.store
    upgrade(store.engine)
    store.engine.dispose()
    try:
        made.start_temporal()
        for role in ("control", "scheduler"):
            made.start(role, str(BIN / "fleetwide"), "worker", role)
        yield made
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            sys.stderr.write(f"== {log.name}\n{log.read_text()[-2000:]}\n")
        raise
    finally:
        made.stop()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Namespace:
    """A network namespace whose only way out leads, by a relay, to one local port."""

    def __init__(self, port: int) -> None:
        self.name = f"fw{secrets.token_hex(3)}"
        number = secrets.randbelow(250)
        self.outside, self.inside = f"10.213.{number}.1", f"10.213.{number}.2"
        self._link = f"{self.name}o"
        self._port = port
        self._listener = socket.socket()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that runs inside."""
        return ("ip", "netns", "exec", self.name)

    @property
    def address(self) -> str:
        """Where the port is found from inside."""
        return f"{self.outside}:{self._port}"

    def __enter__(self) -> Self:
        for words in (
            f"ip netns add {self.name}",
            f"ip link add {self._link} type veth peer name inside netns {self.name}",
            f"ip addr add {self.outside}/30 dev {self._link}",
            f"ip link set {self._link} up",
            f"ip -n {self.name} addr add {self.inside}/30 dev inside",
            f"ip -n {self.name} link set inside up",
            f"ip -n {self.name} link set lo up",
        ):
            subprocess.run(words.split(), check=True)
        self._listener.bind((self.outside, self._port))
        self._listener.listen(64)
        threading.Thread(target=self._relay, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def cut(self) -> None:
        """Nothing gets through any more."""
        subprocess.run(["ip", "link", "set", self._link, "down"], check=True)

    def mend(self) -> None:
        subprocess.run(["ip", "link", "set", self._link, "up"], check=True)

    def _relay(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.close()

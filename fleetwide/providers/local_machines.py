"""Hosts of a pool on this machine: a Docker daemon and a host worker for each.

For development, tests and demonstrations. What runs lies in a folder per machine; its processes
outlive the worker that started them, and are found again by their pid files.
"""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from fleetwide.containers.placement import UNCOUNTED, Amounts, Host, Offer, traits_of
from fleetwide.errors import PlatformError
from fleetwide.models.pools import (
    POOL_LABEL,
    HostPoolSpec,
    HostType,
    Machine,
    MachineState,
    PoolLaunch,
    label_text,
)
from fleetwide.providers.private_files import replace_private
from fleetwide.settings import Settings

START_SECONDS = 60
STOP_SECONDS = 40
FLEETWIDE = Path(sys.executable).with_name("fleetwide")
ABOUT, DAEMON, WORKER = "machine.json", "dockerd", "worker"

_PRIVATE = ("FLEETWIDE_DATABASE", "FLEETWIDE_REGISTRY_", "FLEETWIDE_AWS", "AWS_", "FLEETWIDE_HOST")
Login = Callable[[str], Mapping[str, str]]
"""The environment by which the worker of a new host logs in at the registry."""


class _About(BaseModel):
    """What the folder of a machine says of it."""

    machine: Machine
    cpu: float
    memory: int
    labels: dict[str, str]
    bridge: str
    run: str
    """The daemon's short folder for sockets, whose paths have at most 107 bytes."""


class LocalMachines:
    """Needs root, ``dockerd`` and ``ip``; all below ``pools`` of the state folder."""

    def __init__(self, settings: Settings, login: Login) -> None:
        self._settings = settings
        self._login = login

    def offers(self, spec: HostPoolSpec) -> Sequence[Offer]:
        return [offer(spec, one) for one in spec.types]

    def launch(self, launch: PoolLaunch) -> Sequence[Machine]:
        seed = hashlib.sha256(launch.token.encode()).hexdigest()[:6]
        ids = [f"{launch.spec.name}-{seed}-{number}"[-63:] for number in range(launch.count)]
        return [self._start(launch, machine_id) for machine_id in ids]

    def listing(self, spec: HostPoolSpec) -> Sequence[Machine]:
        found = [_read(folder) for folder in sorted(self._folder(spec.name).glob("*"))]
        return [one.machine for one in found if one is not None]

    def off(self, spec: HostPoolSpec, machines: Sequence[str]) -> Collection[str]:  # noqa: ARG002
        """None: containers may outlive their daemon and its folder here."""
        return []

    def terminate(self, spec: HostPoolSpec, machines: Sequence[str]) -> None:
        for machine_id in machines:
            folder = self._folder(spec.name) / machine_id
            if _is_within(folder, self._folder(spec.name)) and folder.exists():
                _end(folder)

    def _folder(self, pool: str) -> Path:
        return (self._settings.state_dir / "pools" / pool).absolute()

    def _start(self, launch: PoolLaunch, machine_id: str) -> Machine:
        """Make the folder, start what does not run in it yet."""
        folder = self._folder(launch.spec.name) / machine_id
        about = _read(folder) or _make(folder, launch, machine_id)
        _ensure_bridge(about.bridge)
        Path(about.run).mkdir(mode=0o700, exist_ok=True)
        _ensure(folder, DAEMON, _daemon_words(folder, about), dict(os.environ))
        _await_socket(folder)
        if _running(folder, WORKER) is None:  # logging in anew would lock out one that runs
            environment = {**_inherited(), **self._environment(folder, about)}
            _ensure(folder, WORKER, [str(FLEETWIDE), "worker", "host"], environment)
        return about.machine

    def _objects(self) -> str:
        """The object store, by its full path: a host has another working folder."""
        url = self._settings.object_store_url
        if not url.startswith("file:"):
            return url
        return f"file:{Path(url.removeprefix('file:')).absolute()}"

    def _environment(self, folder: Path, about: _About) -> dict[str, str]:
        return {
            **self._login(about.machine.id),
            "FLEETWIDE_REGISTRY_URL": self._settings.registry_url,
            "FLEETWIDE_HOST_ID": about.machine.id,
            "FLEETWIDE_HOST_CPU": str(about.cpu),
            "FLEETWIDE_HOST_MEMORY": str(about.memory),
            "FLEETWIDE_HOST_LABELS": label_text(about.labels),
            "FLEETWIDE_OBJECT_STORE_URL": self._objects(),
            "FLEETWIDE_DOCKER_URL": f"unix://{folder}/docker.sock",
            "FLEETWIDE_STATE_DIR": str(folder / "state"),
            "FLEETWIDE_METRICS_ADDRESS": "127.0.0.1:0",
        }


def _inherited() -> dict[str, str]:
    """What a host may know of this worker's environment: neither its database nor its rights."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}


def offer(spec: HostPoolSpec, one: HostType) -> Offer:
    """What an empty machine of the type offers."""
    assert one.cpu is not None  # the model's validator
    assert one.memory is not None
    total = Amounts(round(one.cpu * 1000), int(one.memory), UNCOUNTED, UNCOUNTED)
    traits = traits_of(_labels(spec, one.name))
    return Offer(
        one.name, Host(f"new-{one.name}", total=total, free=total, traits=traits), one.price
    )


def _labels(spec: HostPoolSpec, kind: str) -> dict[str, str]:
    return {"machine-type": kind, **spec.labels, POOL_LABEL: spec.name}


def _make(folder: Path, launch: PoolLaunch, machine_id: str) -> _About:
    [kind] = [one for one in launch.spec.types if one.name == launch.type]
    assert kind.cpu is not None
    assert kind.memory is not None
    seed = hashlib.sha256(f"{folder}".encode()).hexdigest()[:8]
    about = _About(
        machine=Machine(
            id=machine_id,
            type=kind.name,
            state=MachineState.RUNNING,
            launched_at=datetime.now(UTC),
        ),
        cpu=kind.cpu,
        memory=int(kind.memory),
        labels=_labels(launch.spec, kind.name),
        bridge=f"fwp{seed}",
        run=f"/run/fwp-{seed}-{secrets.token_hex(2)}",
    )
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    replace_private(folder / ABOUT, about.model_dump_json(indent=1).encode())
    return about


def _read(folder: Path) -> _About | None:
    try:
        return _About.model_validate_json((folder / ABOUT).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _daemon_words(folder: Path, about: _About) -> list[str]:
    """With a bridge of its own and without firewall rules: other daemons are on this machine."""
    return [
        "dockerd",
        *("--data-root", f"{folder}/data"),
        *("--exec-root", about.run),
        *("--pidfile", f"{folder}/docker.pid"),
        *("--host", f"unix://{folder}/docker.sock"),
        *("--bridge", about.bridge),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    ]


def _ensure_bridge(name: str) -> None:
    if not Path(f"/sys/class/net/{name}").exists():
        _ip("link", "add", name, "type", "bridge")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlatformError(f"ip {' '.join(words)}: {done.stderr.strip()}", hint="run it as root")


def _ensure(folder: Path, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Start the process, unless the one that was started before still runs."""
    if _running(folder, name) is not None:
        return
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
            start_new_session=True,  # it outlives the worker that started it
        )
    (folder / f"{name}.pid").write_text(f"{process.pid} {_started(process.pid)}")


def _running(folder: Path, name: str) -> int | None:
    """The process of a pid file, if it is still that one."""
    try:
        pid, started = (folder / f"{name}.pid").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started and _started(int(pid)) == started else None


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none or it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _await_socket(folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (folder / "docker.sock").is_socket():
        if _running(folder, DAEMON) is None or time.monotonic() > deadline:
            tail = (folder / f"{DAEMON}.log").read_text(errors="replace")[-500:]
            raise PlatformError(f"dockerd did not start in {folder}: {tail}")
        time.sleep(0.1)


def _end(folder: Path) -> None:
    """Stop the worker, then the daemon with all its containers, then forget the machine."""
    about = _read(folder)
    for name in (WORKER, DAEMON):
        _stop(folder, name)
    if about is not None:
        with suppress(PlatformError):
            _ip("link", "delete", about.bridge)
        shutil.rmtree(about.run, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _stop(folder: Path, name: str) -> None:
    """SIGTERM once, as a second one makes dockerd leave its containers; SIGKILL when it is late."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        pid = _running(folder, name)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while _running(folder, name) is not None and time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # it may be a child of this worker
            time.sleep(0.1)


def _is_within(path: Path, folder: Path) -> bool:
    return path.parent == folder and path.name not in {"", ".", ".."}

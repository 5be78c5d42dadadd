"""A whole registry for tests: Distribution, gateway and nginx on free ports, each to be killed.

``plain_distribution`` is Docker Distribution alone, which the rest is measured against.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx2
import yaml

from fleetwide.registry.accounts import hash_secret
from fleetwide.registry.nginx import NginxPlan, nginx_config
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store

ACCOUNTS = {
    "admin": [{"repositories": "*", "actions": ["*"]}],
    "builder": [{"repositories": "*", "actions": ["*"]}],
    "reader": [{"repositories": "apps/*", "actions": ["pull"]}],
}
"""Who there is where tokens are asked for, and what they may do."""
PASSWORD = secrets.token_hex(8)
"""Of each of them."""
FLEETWIDE = Path(sys.executable).with_name("fleetwide")
START_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """A server process that a test can kill and start again; its output goes to ``log``."""

    name: str
    command: Sequence[str | Path]
    url: str
    """What it serves; it is up when this answers anything."""
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # nginx's workers outlive a killed master
            )
        self._await()

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        # One client for all tries: making one costs more than a try, and the service needs the time.
        with httpx2.Client(timeout=5.0, trust_env=False, verify=False) as client:
            while time.monotonic() < deadline:
                assert self.process is not None
                assert self.process.poll() is None, f"{self.name} ended: {self.tail()}"
                try:
                    client.get(self.url)
                except httpx2.TransportError:
                    time.sleep(0.05)
                else:
                    return
        raise AssertionError(f"{self.name} does not answer: {self.tail()}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait for the end; nothing happens when it has ended already."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def restart(self) -> None:
        self.end()
        self.start()

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@dataclass(frozen=True)
class Bucket:
    """A bucket that Distribution keeps its blobs in."""

    endpoint: str
    name: str
    region: str = "us-east-1"

    @property
    def settings(self) -> dict[str, object]:
        """What Distribution has to know."""
        return {
            "accesskey": os.environ["AWS_ACCESS_KEY_ID"],
            "secretkey": os.environ["AWS_SECRET_ACCESS_KEY"],
            "bucket": self.name,
            "region": self.region,
            "regionendpoint": self.endpoint,
            "rootdirectory": "/registry",
            "secure": False,
        }


@dataclass(frozen=True)
class StackOptions:
    """What kind of registry."""

    plane: Literal["nginx", "redirect"] = "nginx"
    auth: Literal["token", "off"] = "off"
    database_url: str | None = None
    """None for SQLite in the stack's folder."""
    backend_url: str | None = None
    """Where the gateway finds Distribution, when a test puts something in between."""
    backend_port: int | None = None
    """Distribution's port, when a test has to know it before."""
    storage: Path | None = None
    bucket: Bucket | None = None
    """Instead of a folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More settings of the gateway's."""
    gateway: Sequence[str | Path] = (FLEETWIDE, "registry", "serve")
    """The gateway's command, when it shall not be quite the real one."""


@dataclass(frozen=True)
class Stack:
    """A running registry."""

    url: str
    """The front door."""
    distribution: Service
    gateway: Service
    nginx: Service | None
    storage: Path
    database_url: str
    environment: Mapping[str, str]
    """Of the gateway; the CLI takes the same."""

    @property
    def address(self) -> str:
        """``host:port``, as it stands in an image's reference."""
        return self.url.removeprefix("http://")

    def store(self) -> Store:
        return Store.open(self.database_url)

    def fleetwide(self, *arguments: str) -> str:
        """Run the CLI with this registry's settings; returns standard output."""
        done = subprocess.run(
            [FLEETWIDE, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout


def distribution(folder: Path, storage: Path | Bucket, port: int) -> Service:
    """Distribution as the platform runs it: no descriptor cache, deletion enabled."""
    place: dict[str, object] = (
        {"filesystem": {"rootdirectory": str(storage)}}
        if isinstance(storage, Path)
        else {"s3": storage.settings, "redirect": {"disable": True}}
    )
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {**place, "delete": {"enabled": True}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "secret": secrets.token_hex(16),
            "relativeurls": True,
        },
        "validation": {"manifests": {"urls": {"allow": [".*"]}}},
    }
    file = folder / f"distribution-{port}.yml"
    file.write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{port}"
    command = ("docker-registry", "serve", file)
    # Its client of S3 cannot be given a bundle of certificates, and ends when there is one.
    environment = {"AWS_CA_BUNDLE": ""}
    return Service("distribution", command, f"{url}/v2/", folder / "distribution.log", environment)


@contextmanager
def plain_distribution(folder: Path) -> Iterator[Service]:
    """Docker Distribution without anything before it."""
    service = distribution(folder, folder / "storage", free_port())
    service.start()
    try:
        yield service
    finally:
        service.kill()


@contextmanager
def registry_stack(folder: Path, options: StackOptions | None = None) -> Iterator[Stack]:
    """A registry of its own in ``folder``, an empty one unless the storage says otherwise."""
    stack = _stack(folder, options or StackOptions())
    opened = stack.store()
    upgrade(opened.engine)
    opened.engine.dispose()
    with ExitStack() as ends:
        for service in (stack.distribution, stack.gateway, stack.nginx):
            if service is not None:
                ends.callback(service.kill)
                service.start()
        yield stack


def _stack(folder: Path, options: StackOptions) -> Stack:
    backend, gateway = options.backend_port or free_port(), free_port()
    door = free_port() if options.plane == "nginx" else gateway
    ports = (door, gateway, backend)
    storage = options.storage or folder / "storage"
    database = options.database_url or f"sqlite:///{folder}/index.db"
    settings = {
        "STATE_DIR": str(folder),
        "DATABASE_URL": database,
        "REGISTRY_URL": f"http://127.0.0.1:{door}",
        "REGISTRY_HOST": "127.0.0.1",
        "REGISTRY_PORT": str(gateway),
        "REGISTRY_BACKEND_URL": options.backend_url or f"http://127.0.0.1:{backend}",
        "REGISTRY_UPLOADS_URL": f"http://127.0.0.1:{backend}",
        "REGISTRY_DATA_PLANE": options.plane,
        "REGISTRY_STORAGE": f"file:{storage}",
        "REGISTRY_AUTH": options.auth,
        "REGISTRY_TOKEN_KEY": str(folder / "token-key.pem"),
    }
    environment = {f"FLEETWIDE_{name}": value for name, value in settings.items()}
    if options.bucket is not None:
        environment["FLEETWIDE_REGISTRY_STORAGE"] = f"s3://{options.bucket.name}/registry"
        environment["FLEETWIDE_AWS_ENDPOINT_URL"] = options.bucket.endpoint
        environment["FLEETWIDE_AWS_REGION"] = options.bucket.region
    if options.auth == "token":
        environment["FLEETWIDE_REGISTRY_ACCOUNTS"] = str(_accounts(folder))
    environment |= options.environment
    return Stack(
        url=f"http://127.0.0.1:{door}",
        distribution=distribution(folder, options.bucket or storage, backend),
        gateway=Service(
            "gateway",
            options.gateway,
            f"http://127.0.0.1:{gateway}/v2/",
            folder / "gateway.log",
            environment,
        ),
        nginx=None if door == gateway else nginx(folder / "nginx", _plan(folder, options, ports)),
        storage=storage,
        database_url=database,
        environment=environment,
    )


def _accounts(folder: Path) -> Path:
    file = folder / "accounts.json"
    secret = hash_secret(PASSWORD)
    file.touch(0o600)
    file.write_text(
        json.dumps({name: {"secret": secret, "grants": given} for name, given in ACCOUNTS.items()})
    )
    return file


def _plan(folder: Path, options: StackOptions, ports: tuple[int, int, int]) -> NginxPlan:
    door, gateway, backend = (f"127.0.0.1:{port}" for port in ports)
    return NginxPlan(
        listen=door,
        gateway=gateway,
        distribution=(backend,),
        folder=folder / "nginx",
        storage=None if options.bucket else options.storage or folder / "storage",
        user="root" if os.geteuid() == 0 else None,
    )


def nginx(folder: Path, plan: NginxPlan) -> Service:
    """A front door by its plan; its own files lie in ``folder``."""
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(nginx_config(plan))
    command = ("nginx", "-e", "stderr", "-p", folder, "-c", file)
    scheme = "https" if plan.certificate else "http"
    return Service("nginx", command, f"{scheme}://{plan.listen}/v2/", folder / "nginx.log")

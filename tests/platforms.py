"""A whole development platform for tests: real servers, real workers, on free ports of its own."""

import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import HealthCheck, settings

from fleetwide.client import Client
from fleetwide.dev.config import DevConfig, dump, with_ports
from fleetwide.dev.machine import taken_ports
from fleetwide.dev.parse import load
from fleetwide.dev.platform import UpOptions, down, status, up
from fleetwide.dev.registry_accounts import ADMIN, admin_secret
from fleetwide.models.os_releases import OSRelease
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_auth import Credentials
from tests.receivers import TraceReceiver

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
# How long an example takes says nothing on a machine that does other work too.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
ALL = "platform"
"""The group of all tests that use the one whole platform."""
PORTS = 40
"""More than any platform takes."""
BASE_SPEC = {"name": "baseos", "version": "1", "suite": "bookworm", "packages": ["python3"]}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, when several processes share the suite."""
    items.sort(
        key=lambda item: ("platform" not in _fixtures(item), "integration" not in item.keywords)
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say which tests stay together. Pytest 9.2 ignores the groups that xdist itself knows of."""
    # Imported only where xdist is at work; it brings no types.
    scheduling: Any = importlib.import_module("xdist.scheduler")

    class Together(scheduling.LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    return Together(config, log)


@cache
def _group(file: str) -> str:
    """Tests of one group run in one process, one after the other.

    What a whole session shares is made once in each process: it is made once in all when the
    tests that use it stay in one. That is a platform, or what the conftest of a folder makes.
    Tests of one folder that use the Docker daemon stay together, too: some count what is on it.
    """
    path = ROOT / file
    text = path.read_text()
    if "tests.platforms import" in text and "platform: Platform" in text:
        return ALL
    conftest = path.parent / "conftest.py"
    shares = conftest.exists() and (
        "integration" in path.parts or 'scope="session"' in conftest.read_text()
    )
    return str(path.parent if shares else path)


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


def on_free_ports(config: DevConfig) -> DevConfig:
    """Ports that nobody listens on, out of a range that no other process of the suite takes."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lowest = 20000 + process % 10 * 1000
    while True:
        base = random.randrange(lowest, lowest + 1000 - PORTS)
        if not taken_ports(range(base, base + PORTS)):
            return with_ports(config, base)


def eventually(condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """The first true answer of ``condition``; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"never happened within {seconds} s: {what}"
        time.sleep(0.1)
    return answer


@dataclass(frozen=True)
class Outcome:
    """How a workflow ended: its status word, its result or its failure."""

    status: str
    result: Any
    failure: str
    failure_type: str


@dataclass(frozen=True)
class Platform:
    """A running platform and the ways by which people reach it."""

    config: DevConfig
    state: Path
    file: Path
    api_url: str
    traces: TraceReceiver

    def client(self) -> Client:
        return Client(self.api_url, login=self.admin())

    def admin(self) -> Credentials:
        """The person's account."""
        return Credentials(ADMIN, admin_secret(self.state).read_text())

    def registry(self) -> RegistryClient:
        """The platform's registry, with the person's account."""
        url = f"http://127.0.0.1:{self.config.processes['registry'].port}"
        return RegistryClient(url, self.admin())

    def fleetwide(self, *arguments: str, code: int = 0, stdin: str | None = None) -> str:
        """Run the ``fleetwide`` CLI as a person would; returns standard output."""
        done = subprocess.run(
            [BIN / "fleetwide", *arguments],
            env={
                **os.environ,
                "FLEETWIDE_API_URL": self.api_url,
                "FLEETWIDE_STATE_DIR": str(self.state),
            },
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def temporal(self, *arguments: str, code: int | None = 0) -> str:
        """Run the ``temporal`` CLI with the platform's file as its env file."""
        command = [str(BIN / "temporal"), "--env-file", str(self.file), "--env", "dev", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if code is not None:
            assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, type_: str, workflow_id: str, *inputs: str) -> None:
        """``temporal workflow start --type ...`` with the task queue from the env file."""
        given = [word for text in inputs for word in ("--input", text)]
        self.temporal("workflow", "start", "--type", type_, "--workflow-id", workflow_id, *given)

    def describe(self, workflow_id: str) -> dict[str, Any]:
        text = self.temporal("workflow", "describe", "--workflow-id", workflow_id, "-o", "json")
        found: dict[str, Any] = json.loads(text)
        return found

    def status(self, workflow_id: str) -> str:
        word: str = self.describe(workflow_id)["workflowExecutionInfo"]["status"]
        return word.removeprefix("WORKFLOW_EXECUTION_STATUS_")

    def ended(self, workflow_id: str, seconds: float = 120.0) -> Outcome:
        """Wait for the end of a workflow."""
        eventually(
            lambda: self.status(workflow_id) != "RUNNING", seconds, f"the end of {workflow_id}"
        )
        text = self.temporal(
            "workflow", "result", "--workflow-id", workflow_id, "-o", "json", code=None
        )
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
        failure = (found.get("closeEvent") or {}).get("workflowExecutionFailedEventAttributes", {})
        cause = failure.get("failure", {})
        return Outcome(
            status=found.get("status", ""),
            result=found.get("result"),
            failure=cause.get("message", ""),
            failure_type=cause.get("applicationFailureInfo", {}).get("type", ""),
        )

    def query(self, workflow_id: str, name: str = "status") -> Any:
        text = self.temporal(
            "workflow", "query", "--workflow-id", workflow_id, "--type", name, "-o", "json"
        )
        return json.loads(text)["queryResult"][0]

    def containers(self, **labels: str) -> list[Any]:
        """The platform's containers, stopped ones too."""
        wanted = {"platform": str(self.state), **labels}
        filters = {"label": [f"fleetwide.{key}={value}" for key, value in wanted.items()]}
        api = docker.APIClient()
        try:
            found: list[Any] = api.containers(all=True, filters=filters)
        finally:
            api.close()
        return found

    def pid(self, process: str) -> int:
        found = next(item.pid for item in status(self.state) if item.name == process)
        assert found is not None
        return found

    def healthy(self) -> bool:
        return all(item.healthy for item in status(self.state))


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """One platform for the whole session; traces go to a receiver of the test's own."""
    with tempfile.TemporaryDirectory(prefix="fw-") as folder, TraceReceiver() as traces:
        state = Path(folder) / "state"
        config = on_free_ports(load(ROOT / "temporal-dev.yaml"))
        file = Path(folder) / "temporal-dev.yaml"
        file.write_text(dump(config))
        shell = {
            **os.environ,
            "FLEETWIDE_TRACE_EXPORTER": "otlp",
            "FLEETWIDE_OTLP_ENDPOINT": traces.url,
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }
        try:
            up(config, state, UpOptions(shell=shell))
            api = f"http://127.0.0.1:{config.processes['api'].port}"
            yield Platform(config, state.resolve(), file, api, traces)
        finally:
            down(state)
            remove_images(f"127.0.0.1:{config.processes['registry'].port}/")


def remove_images(registry: str) -> None:
    """Take the images that were pulled from a registry of the tests off the Docker daemon."""
    api = docker.APIClient()
    try:
        for image in api.images():
            for name in image.get("RepoDigests") or []:
                if name.startswith(registry):
                    api.remove_image(name, force=True)
    finally:
        api.close()


@pytest.fixture(scope="session")
def stable(platform: Platform) -> OSRelease:
    """An OS release built through CLI and API, promoted to stable."""
    spec = json.dumps(BASE_SPEC)
    platform.fleetwide("os", "build", "-f", "-", "--wait", stdin=spec)
    platform.fleetwide("os", "promote", "baseos", "1")
    with platform.client() as client:
        return client.os.get("baseos", "stable")

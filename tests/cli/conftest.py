import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import structlog
from starlette.testclient import TestClient

from api.app import create_app
from fleetwide.cli import main
from fleetwide.client import Client
from tests.api.harness import Plane, registry


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """The scheduler's own log does not go where the command line prints: they are one process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@dataclass(frozen=True)
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture(scope="session")
def cli_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("plane")
    with registry(folder) as url, Plane(folder, url) as plane:
        with TestClient(create_app(plane.settings)) as http:
            yield http


@pytest.fixture
def fleetwide(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Command:
    """Runs command lines against the API in this process; the platform starts at first need."""

    @contextmanager
    def in_process() -> Iterator[Client]:
        yield Client("http://testserver", http=request.getfixturevalue("cli_plane"))

    for module in (
        "baseos",
        "artifact",
        "bake",
        "image",
        "task",
        "task_lists",
        "batch",
        "capacity_group",
        "capacity_request",
        "queue",
        "host",
        "registry_contents",
        "registry_gc",
        "registry_quota",
        "registry_retention",
        "registry_tags",
        "events",
        "scheduler",
        "service",
        "service_moves",
        "worker_version",
    ):
        monkeypatch.setattr(f"fleetwide.cli.{module}.client", in_process)

    def run(*arguments: str) -> Ran:
        code = main.run(list(arguments))
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run

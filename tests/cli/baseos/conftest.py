from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from fleetwide.cli import main
from fleetwide.client import Client
from tests.api.baseos.plane import OSPlane, os_plane
from tests.cli.conftest import Command, Ran

SpecFile = Callable[..., str]


@pytest.fixture(scope="session")
def line_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OSPlane]:
    with os_plane(tmp_path_factory.mktemp("os-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def os_http(line_plane: OSPlane) -> Iterator[TestClient]:
    with TestClient(create_app(line_plane.settings)) as http:
        yield http


@pytest.fixture
def fleetwide(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Command:
    """Runs ``fleetwide os`` against the API in this process; it starts at first need."""

    @contextmanager
    def in_process() -> Iterator[Client]:
        yield Client("http://testserver", http=request.getfixturevalue("os_http"))

    for module in ("baseos", "baseos_reports", "baseos_lines"):
        monkeypatch.setattr(f"fleetwide.cli.{module}.client", in_process)

    def run(*arguments: str) -> Ran:
        code = main.run(["os", *arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def spec_file(tmp_path: Path) -> SpecFile:
    """Writes a spec and returns its path."""

    def write(name: str, *lines: str) -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text("\n".join([f"name: {name}", "suite: bookworm", *lines]) + "\n")
        return str(path)

    return write

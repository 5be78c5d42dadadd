from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.harness import Plane, registry


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    with registry(folder) as url, Plane(folder, url) as running:
        yield running


@pytest.fixture(scope="session")
def http(plane: Plane) -> Iterator[TestClient]:
    with TestClient(create_app(plane.settings)) as client:
        yield client

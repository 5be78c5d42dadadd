from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.baseos.plane import OSPlane, os_plane


@pytest.fixture(scope="session")
def line_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OSPlane]:
    with os_plane(tmp_path_factory.mktemp("os-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def os_http(line_plane: OSPlane) -> Iterator[TestClient]:
    with TestClient(create_app(line_plane.settings)) as client:
        yield client

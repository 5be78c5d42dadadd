"""What a real engine tells of how long containers run, and how they ended."""

from collections.abc import Iterator

import docker
import pytest

from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.docker_ends import remembered_end
from fleetwide.providers.engine_times import age_of
from tests.integration.containers_fixtures import TinyRegistry

pytestmark = pytest.mark.integration


@pytest.fixture
def container(docker_api: docker.APIClient, tiny_registry: TinyRegistry) -> Iterator[str]:
    """One that runs until it is stopped, and says by its code that it was."""
    image = f"{tiny_registry.url.removeprefix('http://')}/{tiny_registry.image}"
    docker_api.pull(image)
    stoppable = "trap 'exit 9' TERM; while :; do sleep 0.05; done"
    made = docker_api.create_container(image, ["/bin/sh", "-c", stoppable])["Id"]
    docker_api.start(made)
    yield made
    docker_api.remove_container(made, force=True)


def test_a_container_that_is_taken_up_has_its_age_by_the_clock_since_boot(
    container_host: ContainerHost, container: str
) -> None:
    found = container_host.inspect(container)
    assert found is not None
    assert found.began is not None
    assert 0 <= age_of(found) < 600


def test_the_engine_remembers_how_a_container_ended(
    container_host: ContainerHost, container: str, docker_api: docker.APIClient
) -> None:
    assert remembered_end(docker_api, container) is None
    container_host.stop(container)
    end = remembered_end(docker_api, container)
    found = container_host.inspect(container)
    assert end is not None
    assert found is not None
    assert end.exit_code == found.exit_code != 255

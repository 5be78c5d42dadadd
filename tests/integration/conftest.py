from tests.integration.containers_fixtures import (
    container_host,
    docker_api,
    host_settings,
    object_store,
    runs,
    tiny_registry,
)

__all__ = [
    "container_host",
    "docker_api",
    "host_settings",
    "object_store",
    "runs",
    "tiny_registry",
]

"""One registry without nginx and without logins for the tests of the gateway itself."""

from collections.abc import Iterator

import pytest

from tests.conformance.client import Registry
from tests.registry_stack import Stack, StackOptions, free_port, registry_stack


@pytest.fixture(scope="session")
def metrics() -> str:
    """Where the gateway gives its counts."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, metrics: str) -> Iterator[Stack]:
    options = StackOptions(plane="redirect", environment={"FLEETWIDE_METRICS_ADDRESS": metrics})
    with registry_stack(tmp_path_factory.mktemp("gateway"), options) as stack:
        yield stack


@pytest.fixture(scope="session")
def registry(gateway: Stack) -> Iterator[Registry]:
    client = Registry(gateway.url)
    with client.http:
        yield client

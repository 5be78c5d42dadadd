"""What the faults of an open registry have in common: the registry, and a client of it."""

from collections.abc import Iterator

import pytest

from tests.conformance.client import Registry
from tests.registry_stack import Stack, registry_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A registry of the module's own, so that it may kill what it likes."""
    with registry_stack(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Registry]:
    made = Registry(stack.url)
    with made.http:
        yield made

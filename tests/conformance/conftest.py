"""The registries that the conformance tests run against, and what each is known not to do.

A test that is known to fail and passes is a failure: then the list is wrong.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.client import Registry
from tests.conformance.known import KNOWN
from tests.postgres import TEMPLATE, Postgres, postgres
from tests.registry_stack import StackOptions, plain_distribution, registry_stack

__all__ = ["postgres"]

TARGETS = ("distribution", "nginx", "redirect")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent != Path(__file__).parent:
            continue
        target = str(item.callspec.params.get("registry", ""))
        known = KNOWN.get(target, {})
        case = item.name.replace(f"[{target}-", "[").removesuffix(f"[{target}]")
        reason = known.get(case) or known.get(item.originalname)
        if reason:
            item.add_marker(pytest.mark.xfail(strict=True, reason=reason))


@pytest.fixture(scope="session", params=TARGETS)
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """A registry that listens; the tests of one follow each other."""
    folder = tmp_path_factory.mktemp(f"conformance-{request.param}")
    if request.param == "distribution":
        with plain_distribution(folder) as service:
            yield from _client(service.url.removesuffix("/v2/"))
        return
    with registry_stack(folder, _options(request)) as stack:
        yield from _client(stack.url)


def _options(request: pytest.FixtureRequest) -> StackOptions:
    """Both data planes and both databases, in two registries."""
    if request.param == "nginx":
        return StackOptions(plane="nginx")
    server: Postgres = request.getfixturevalue("postgres")
    return StackOptions(plane="redirect", database_url=server.database(TEMPLATE))


def _client(url: str) -> Iterator[Registry]:
    registry = Registry(url)
    with registry.http:
        yield registry


@pytest.fixture
def name() -> str:
    """A repository that nobody else uses."""
    return f"conformance/{uuid.uuid4().hex[:12]}"

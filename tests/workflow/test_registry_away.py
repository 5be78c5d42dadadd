"""A registry that goes away: what was accepted goes on, and what was not waits for an answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleetwide.errors import RegistryUnavailable
from fleetwide.registry.references import ImageReference
from tests.workflow.world import DIGEST, World, job, task, world


@dataclass
class Registry:
    """Answers while it is there, and remembers what it was asked."""

    there: bool = True
    asked: list[str] = field(default_factory=list)

    def resolve(self, reference: ImageReference) -> str:
        self.asked.append(str(reference))
        if not self.there:
            raise RegistryUnavailable("the registry does not answer")
        return DIGEST


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    known = Registry()
    monkeypatch.setattr("tests.workflow.world._resolve", known.resolve)
    return known


@pytest.fixture
async def plane(registry: Registry, tmp_path: Path) -> AsyncIterator[World]:
    assert registry.there
    async with world(tmp_path) as running:
        yield running


async def test_accepted_work_starts_its_next_attempts_without_the_registry(
    plane: World, registry: Registry
) -> None:
    retry = {"retries": 1, "delay_seconds": 1}
    handle = await plane.start("BatchJob", job("flaky", size=6, retry=retry), "batch/1")
    await plane.until(lambda: plane.host.runs)
    registry.there = False
    await handle.result()
    assert (0, 2) in plane.host.runs
    assert len(registry.asked) == 1


async def test_work_that_was_not_accepted_waits_until_the_registry_answers(
    plane: World, registry: Registry
) -> None:
    registry.there = False
    handle = await plane.start("ContainerTask", task("exit", "0"), "task/1")
    await plane.until(lambda: len(registry.asked) > 1)
    registry.there = True
    assert (await handle.result())["image"].endswith(DIGEST)

"""All of an attempt's containers go once nobody waits for it, and its lease only then."""

from pathlib import Path
from typing import Any

import pytest

from activities import reaping
from activities.reaping import LOOKS, Reaper
from fleetwide.containers.company import CONTAINER_LABEL
from fleetwide.containers.launch import key_from_labels, labels
from fleetwide.containers.leases import Lease
from fleetwide.errors import DockerUnavailable
from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.providers.engine import ListedContainer
from fleetwide.providers.lease_folder import LeaseFolder
from fleetwide.providers.objects import FolderStore

IMAGE = f"apps/hello@sha256:{'0' * 64}"
RUN = RunContainer(
    key=AttemptKey(workflow_id="task/t", run_id="r"),
    host_id="h",
    app="hello",
    image=IMAGE,
    container=ContainerSpec(image=IMAGE),
)
MAIN = RUN.key.container_name()


def listed(name: str) -> ListedContainer:
    marks = labels(RUN, "here")
    if name != MAIN:
        marks[CONTAINER_LABEL] = name
    return ListedContainer(name, name, "running", 0, marks)


class Scene:
    """A host with three containers of one attempt that its open workflow has given up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = [listed(name) for name in (f"{MAIN}.side", MAIN, f"{MAIN}._holder")]
        self.stuck = ""
        self.leases = LeaseFolder(folder)
        lease = Lease(MAIN, {}, "boot", 0.0, 60.0, 1.0, "task/t", "r", activity_id="7")
        self.leases.write(lease)
        monkeypatch.setattr(reaping, "_described", self._described)
        monkeypatch.setattr(reaping, "salvage", self._salvage)
        store = FolderStore(folder / "objects")
        nothing: Any = object()
        self._reaper = Reaper(nothing, store, nothing, self.leases)

    async def _described(self, *_: Any) -> reaping._Run:
        return reaping._Run(over=False, pending=frozenset({"8"}))

    def _salvage(self, _host: Any, _store: Any, found: ListedContainer, *_: Any, **__: Any) -> None:
        if found.name == self.stuck:
            raise DockerUnavailable("busy")
        self.there.remove(found)

    async def look(self) -> list[str]:
        await self._reaper.reap(list(self.there), lambda _: False)
        return [found.name for found in self.there]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    assert key_from_labels(listed(MAIN).labels) == RUN.key
    return Scene(tmp_path, monkeypatch)


async def test_all_containers_of_an_attempt_that_was_given_up_go(scene: Scene) -> None:
    for _ in range(LOOKS - 1):
        assert len(await scene.look()) == 3
        assert scene.leases.get(MAIN)
    assert await scene.look() == []
    assert scene.leases.get(MAIN) is None


async def test_the_lease_stays_while_one_of_them_cannot_be_removed(scene: Scene) -> None:
    scene.stuck = f"{MAIN}.side"
    for _ in range(LOOKS - 1):
        await scene.look()
    assert await scene.look() == [scene.stuck]
    assert scene.leases.get(MAIN)
    scene.stuck = ""
    assert await scene.look() == []
    assert scene.leases.get(MAIN) is None

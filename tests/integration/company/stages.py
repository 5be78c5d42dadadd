"""Attempts of several containers, run in threads on the real Docker."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from fleetwide.containers.company import log_key
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.extra_containers import MAIN, ExtraEnd
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import read_log
from fleetwide.providers.attempts import Attempt
from fleetwide.providers.common_limits import MOUNT
from fleetwide.providers.companions import Means
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.docker_volumes import our_volumes
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs, TinyRegistry

PATIENCE_SECONDS = 60


def extra(name: str, script: str, **fields: Any) -> dict[str, Any]:
    """An extra container that runs ``script``; its image is put in by ``Stage.run``."""
    return {"name": name, "command": ["/bin/sh", "-c", script], **fields}


def until(condition: Callable[[], bool], what: str, playing: "Playing | None" = None) -> None:
    for _ in range(PATIENCE_SECONDS * 20):
        if condition():
            return
        assert playing is None or not playing.result.done(), playing.result.result()
        time.sleep(0.05)
    raise AssertionError(f"it never came to this: {what}")


@dataclass
class Playing:
    """An attempt at work."""

    attempt: Attempt
    result: Future[AttemptResult]

    def let_go(self) -> None:
        """As a worker that shuts down."""
        self.attempt.detach()
        assert self.result.exception(PATIENCE_SECONDS) is not None


@dataclass
class Stage:
    """One host worker's means; after a test nothing of its attempts may be left."""

    host: ContainerHost
    store: FolderStore
    settings: Settings
    api: docker.APIClient
    image: str
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))
    played: list[Playing] = field(default_factory=list)

    def play(self, run: RunContainer) -> Playing:
        attempt = Attempt(self.host, self.store, run, lambda host: Means.of(host, self.settings))
        playing = Playing(attempt, self.pool.submit(attempt.execute))
        self.played.append(playing)
        return playing

    def clear(self) -> None:
        """End what a test that failed has left to run."""
        for one in self.played:
            if not one.result.done():
                one.attempt.end(EndReason.KILLED)
        self.pool.shutdown()

    def execute(self, run: RunContainer) -> AttemptResult:
        return self.play(run).result.result(PATIENCE_SECONDS * 2)

    def log(self, run: RunContainer, name: str = MAIN) -> str:
        pieces: list[bytes] = []
        offset = 0
        while True:
            piece, offset = read_log(self.store, log_key(run.key, name), offset)
            if not piece:
                return b"".join(pieces).decode()
            pieces.append(piece)

    def status(self, run: RunContainer, name: str = MAIN) -> str | None:
        main = run.key.container_name()
        found = self.host.inspect(main if name == MAIN else f"{main}.{name}")
        return found.status if found else None

    def leftovers(self) -> list[str]:
        """Containers, volumes and control groups that are still there."""
        names = {found.name for found in self.host.list_ours()}
        names |= {found.name for found in our_volumes(self.host)}
        return sorted(names)

    def groups(self, run: RunContainer) -> list[Path]:
        name = run.key.container_name()
        return [*MOUNT.glob(f"fleetwide-*/{name}"), *MOUNT.glob(f"*/fleetwide-*/{name}")]


def end_of(result: AttemptResult, name: str) -> ExtraEnd:
    return next(one for one in result.extra_containers if one.name == name)


def company(
    stage: Stage, runs: Runs, script: str, *extras: dict[str, Any], **spec: Any
) -> RunContainer:
    """A run of ``script`` beside extra containers, all of the tiny image."""
    run = runs.shell(
        script,
        extra_containers=[{"image": stage.image, **one} for one in extras],
        **{"stop_grace_seconds": 1, **spec},
    )
    images = {one["name"]: stage.image for one in extras}
    return run.model_copy(update={"extra_images": images})


@pytest.fixture
def stage(
    container_host: ContainerHost,
    object_store: FolderStore,
    host_settings: Settings,
    docker_api: docker.APIClient,
    tiny_registry: TinyRegistry,
) -> Iterator[Stage]:
    stage = Stage(container_host, object_store, host_settings, docker_api, tiny_registry.image)
    yield stage
    stage.clear()
    assert stage.leftovers() == []

"""Deploys on real processes and containers: of bad images, and while workers are killed."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.store import service_copies, service_history, services
from tests.faults.cells import BIN, Cell, cell, until
from tests.integration.containers_fixtures import TinyRegistry, tiny_registry  # noqa: F401
from tests.integration.errands.dockerds import OwnDockerd, own_dockerd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
WEB = "service/web"
COPIES = 2


@pytest.fixture(scope="module")
def daemon() -> Iterator[OwnDockerd]:
    """A Docker daemon that may be killed; its data lie apart from the cell's."""
    folder = Path(tempfile.mkdtemp(prefix="fw-docker-"))
    try:
        with own_dockerd(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def plant(daemon: OwnDockerd, tiny_registry: TinyRegistry) -> Iterator[Cell]:  # noqa: F811
    """A cell with one host and a service of two copies, which has been deployed once."""
    folder = Path(tempfile.mkdtemp(prefix="fw-deploys-"))
    try:
        with cell(folder, tiny_registry, docker_url=daemon.url) as made:
            made.start_host("one")
            until(lambda: made.host_state("one") == "Active", what="the host")
            made.temporal(
                *("workflow", "start", "--type", "ContainerService", "--task-queue", "control"),
                *("--workflow-id", WEB, "--input", json.dumps(spec(tiny_registry.image))),
            )
            assert ended(made, 1).phase is DeployPhase.SUCCEEDED
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def spec(image: str, script: str = "sleep 1000") -> dict[str, Any]:
    return {
        "app": "drill",
        "capacity": {"desired": COPIES},
        "container": {
            "image": image,
            "command": ["/bin/sh", "-c", script],
            "network": "none",
            "resources": {"cpu": 0.2, "memory": "32MiB"},
            "stop_grace_seconds": 0,
        },
        "deploy": {"healthy_seconds": 1, "max_failed_copies": 2},
    }


def deploy(plant: Cell, content: dict[str, Any]) -> None:
    plant.temporal(
        *("workflow", "update", "execute", "--workflow-id", WEB, "--name", "deploy"),
        *("--input", json.dumps({"spec": content})),
    )


def ended(plant: Cell, number: int) -> DeployState:
    def over() -> DeployState | None:
        with plant.reading() as session:
            row = services.find(session, "web")
            state = services.deploy_of(row) if row else None
        return state if state and state.number == number and state.over else None

    found: DeployState = until(over, 120, f"the end of deploy {number}")
    return found


def newest(plant: Cell) -> int:
    """The number of the last deploy."""
    with plant.reading() as session:
        row = services.find(session, "web")
        state = services.deploy_of(row) if row else None
    assert state is not None
    return state.number


def living(plant: Cell) -> set[str]:
    """The copies that are not over."""
    with plant.reading() as session:
        return {one.row.task_id for one in service_copies.seen(session, "web")}


def test_bad_images_go_back_at_once_and_the_good_copies_never_end(plant: Cell) -> None:
    before = living(plant)
    missing = plant.registry.image.replace(plant.registry.repository, "tests/nothing")
    deploy(plant, spec(missing))
    state = ended(plant, 2)
    assert (state.phase, state.failed) == (DeployPhase.ROLLED_BACK, 1)
    assert state.reason.startswith("no host can run it: web.2.1")
    deploy(plant, spec(plant.registry.image, "exit 3"))
    state = ended(plant, 3)
    assert (state.phase, state.failed) == (DeployPhase.ROLLED_BACK, 2)
    assert "2 copies of revision 4 have failed" in state.reason
    assert living(plant) == before
    for task_id in before:
        assert plant.running(task_id)
        assert len(plant.attempts(task_id)) == 1, "it never ended"
    with plant.reading() as session:
        verdicts = [row.verdict for row in service_history.revisions(session, "web")]
    assert verdicts[::-1] == ["good", "bad", "good", "bad", "good"]


@pytest.mark.parametrize("victims", [("control", "scheduler"), ("one",)], ids=["plane", "host"])
def test_a_deploy_gets_through_the_end_of_workers(plant: Cell, victims: Sequence[str]) -> None:
    old, number = living(plant), begin(plant)
    for victim in victims:
        plant.signal(victim, signal.SIGKILL)
    for victim in victims:
        start_again(plant, victim)
    assert ended(plant, number).phase is DeployPhase.SUCCEEDED
    live = all_new(plant, old)
    for task_id in live:
        assert len(plant.lives(task_id)) == 1, "it was started once, whoever was killed"


def test_a_deploy_gets_through_the_end_of_the_docker_daemon(
    plant: Cell, daemon: OwnDockerd
) -> None:
    """Which ends its containers with it: copies that it takes along are no failures."""
    old, number = living(plant), begin(plant)
    daemon.kill()
    daemon.start()
    assert ended(plant, number).phase is DeployPhase.SUCCEEDED
    all_new(plant, old)


def begin(plant: Cell) -> int:
    """Deploy another version and wait until a copy of it runs; the deploy's number."""
    number, before = newest(plant) + 1, living(plant)
    deploy(plant, spec(plant.registry.image, f"sleep {1000 + number}"))
    until(lambda: any(map(plant.running, living(plant) - before)), 60, "a new copy")
    return number


def start_again(plant: Cell, victim: str) -> None:
    if victim == "one":
        plant.start_host("one")
    else:
        plant.start(victim, str(BIN / "fleetwide"), "worker", victim)


def all_new(plant: Cell, old: set[str]) -> set[str]:
    """Wait until all copies are others than ``old``, and run, each once; no old one does."""

    def reached() -> set[str]:
        live = living(plant)
        runs = len(live) == COPIES and all(len(plant.running(each)) == 1 for each in live)
        return live if runs and not live & old else set()

    found: set[str] = until(reached, 120, "all copies are new ones")
    until(lambda: not any(map(plant.running, old)), 60, "the end of the old ones")
    return found

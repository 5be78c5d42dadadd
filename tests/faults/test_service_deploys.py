"""Deploys on real processes and containers: of bad images, and while workers are killed."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.store import service_copies, service_history, services
from tests.faults.cells import BIN, Cell, cell, until
from tests.integration.containers_fixtures import TinyRegistry, tiny_registry  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
WEB = "service/web"
COPIES = ("web.0.1", "web.1.1")


@pytest.fixture
def plant(tiny_registry: TinyRegistry) -> Iterator[Cell]:  # noqa: F811
    folder = Path(tempfile.mkdtemp(prefix="fw-deploys-"))
    try:
        with cell(folder, tiny_registry) as made:
            made.start_host("one")
            until(lambda: made.host_state("one") == "Active", what="the host")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def spec(image: str, script: str) -> dict[str, Any]:
    return {
        "app": "drill",
        "capacity": {"desired": len(COPIES)},
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


def living(plant: Cell) -> set[str]:
    """The copies that are not over."""
    with plant.reading() as session:
        return {one.row.task_id for one in service_copies.seen(session, "web")}


def test_bad_images_go_back_and_a_good_one_gets_through_the_end_of_its_workers(plant: Cell) -> None:
    good = spec(plant.registry.image, "sleep 1000")
    plant.temporal(
        *("workflow", "start", "--type", "ContainerService", "--task-queue", "control"),
        *("--workflow-id", WEB, "--input", json.dumps(good)),
    )
    assert ended(plant, 1).phase is DeployPhase.SUCCEEDED
    missing = plant.registry.image.replace(plant.registry.repository, "tests/nothing")
    deploy(plant, spec(missing, "sleep 1000"))
    state = ended(plant, 2)
    assert (state.phase, state.failed) == (DeployPhase.ROLLED_BACK, 1)
    assert state.reason.startswith("no host can run it: web.2.1")
    deploy(plant, spec(plant.registry.image, "exit 3"))
    state = ended(plant, 3)
    assert (state.phase, state.failed) == (DeployPhase.ROLLED_BACK, 2)
    assert "2 copies of revision 4 have failed" in state.reason
    for task_id in COPIES:
        assert plant.running(task_id)
        assert len(plant.attempts(task_id)) == 1, "it never ended"
    with plant.reading() as session:
        verdicts = [row.verdict for row in service_history.revisions(session, "web")]
    assert verdicts[::-1] == ["good", "bad", "good", "bad", "good"]
    deploy(plant, spec(plant.registry.image, "sleep 2000"))
    until(lambda: any(map(plant.running, living(plant) - set(COPIES))), 60, "a new copy")
    for role in ("control", "scheduler"):
        plant.signal(role, signal.SIGKILL)
    for role in ("control", "scheduler"):
        plant.start(role, str(BIN / "fleetwide"), "worker", role)
    assert ended(plant, 4).phase is DeployPhase.SUCCEEDED
    until(lambda: not any(map(plant.running, COPIES)), 60, "the end of the old ones")
    live = until(lambda: living(plant) - set(COPIES), 60, "the new ones")
    assert len(live) == len(COPIES)
    for task_id in live:
        assert len(plant.lives(task_id)) == 1, "it was started once, whoever was killed"

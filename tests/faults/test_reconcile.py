"""A silent host comes back with containers that were replaced: of each two one stays, by choice."""

import io
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from fleetwide.store.tables import AttemptRow
from tests.faults.cells import Cell, cell, until
from tests.integration.containers_fixtures import (
    DOCKER_URL,
    TinyRegistry,
    tiny_registry,  # noqa: F401
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

BESIDE = {
    "lost_after_seconds": 12,
    "stop_on_host_after_seconds": 120,
    "replace_while_disconnected": True,
}
CHOICES = {"first": "keepOriginal", "longest": "longestRunning", "second": "keepReplacement"}
WORK = "until [ -e /stop ]; do sleep 0.2; done; echo done"


@pytest.fixture
def plant(tiny_registry: TinyRegistry) -> Iterator[Cell]:  # noqa: F811
    folder = Path(tempfile.mkdtemp(prefix="fw-cell-"))
    try:
        with cell(folder, tiny_registry) as made:
            for host in ("a", "b"):
                made.start_host(host)
            for host in ("a", "b"):
                until(lambda host=host: made.host_state(host) == "Active", what=f"host {host}")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows(plant: Cell, task: str, count: int) -> list[AttemptRow]:
    found = plant.attempts(task)
    return found if len(found) == count else []


def end(plant: Cell, task: str) -> None:
    """Have the container that is left come to its own end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("stop"))
    [name] = plant.running(task)
    with closing(docker.APIClient(base_url=DOCKER_URL)) as api:
        assert api.put_archive(name, "/", buffer.getvalue())


def test_one_of_the_two_stays_by_choice(plant: Cell) -> None:
    for task, choice in CHOICES.items():
        plant.run_task(task, WORK, "a", reconcile=choice, **BESIDE)
    for task in CHOICES:
        until(lambda task=task: rows(plant, task, 1) and plant.running(task), what=f"{task} on a")
    plant.signal("a", signal.SIGKILL)
    for task in CHOICES:
        until(lambda task=task: len(plant.running(task)) == 2, 90, f"a replacement of {task}")
    plant.start_host("a")
    for task in CHOICES:
        until(lambda task=task: len(plant.running(task)) == 1, 90, f"one of {task}")

    for task in CHOICES:
        end(plant, task)

    def ended(task: str) -> bool:
        found = rows(plant, task, 2)
        return bool(found) and all(row.state == "Finished" for row in found)

    for task in CHOICES:
        until(lambda task=task: ended(task), 120, f"the end of {task}")
    reasons = {task: [row.reason for row in plant.attempts(task)] for task in CHOICES}
    assert reasons == {
        "first": ["normal", "superseded"],
        "longest": ["normal", "superseded"],
        "second": [reasons["second"][0], "normal"],
    }
    assert reasons["second"][0] in ("lost", "stuckInState")
    for task in CHOICES:
        first, second = plant.attempts(task)
        assert (first.host_id, second.host_id) == ("a", "b")
        assert second.lineage["follows"] == 1
        lives = plant.lives(task)
        assert [life.name[-2:] for life in lives] == ["-1", "-2"]
        kept = lives[1 if task == "second" else 0]
        assert kept.ended == max(life.ended for life in lives)  # never both were stopped
        until(lambda task=task: not plant.left(task), 120, "no orphan")

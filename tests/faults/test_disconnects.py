"""Hosts fall silent in every way, with real processes: no task is lost, none runs twice at once.

Policies are short, so that each case takes seconds: a silent host's container is stopped after 5
seconds and lost after 15.
"""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cells import Cell, Namespace, cell, until
from tests.integration.containers_fixtures import TinyRegistry, tiny_registry  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

QUICK = {"lost_after_seconds": 15, "stop_on_host_after_seconds": 5}
SLOW = {"lost_after_seconds": 120, "stop_on_host_after_seconds": 60}
WORK = "sleep 4; echo done"


@pytest.fixture(scope="module")
def plant(tiny_registry: TinyRegistry) -> Iterator[Cell]:  # noqa: F811
    """A cell with the host b, to which work can go when another host is silent."""
    folder = Path(tempfile.mkdtemp(prefix="fw-cell-"))
    try:
        with cell(folder, tiny_registry) as made:
            made.start_host("b")
            until(lambda: made.host_state("b") == "Active", what="host b")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def with_host(plant: Cell, host_id: str, *prefix: str, **more: str) -> None:
    plant.start_host(host_id, *prefix, **more)
    until(lambda: plant.host_state(host_id) == "Active", what=f"host {host_id}")


def runs_on(plant: Cell, task_id: str, host_id: str) -> None:
    def there() -> bool:
        rows = plant.attempts(task_id)
        return bool(rows and rows[-1].host_id == host_id and plant.running(task_id))

    until(there, what=f"{task_id} on {host_id}")


def runs_elsewhere(plant: Cell, task_id: str, host_id: str) -> None:
    def there() -> bool:
        rows = plant.attempts(task_id)
        return bool(rows and rows[-1].host_id not in (None, host_id) and plant.running(task_id))

    until(there, what=f"{task_id} on another host than {host_id}")


def test_a_worker_killed_and_started_again_goes_on_with_its_container(plant: Cell) -> None:
    with_host(plant, "again")
    plant.run_task("again", "sleep 15; echo done", "again", **SLOW)
    runs_on(plant, "again", "again")
    plant.signal("again", signal.SIGKILL)
    plant.start_host("again")
    rows = plant.ended("again")
    assert [(row.host_id, row.reason) for row in rows] == [("again", "normal")]
    assert len(plant.lives("again")) == 1
    until(lambda: not plant.left("again"), 180, "no orphan")


def test_a_killed_workers_container_is_stopped_by_the_guard_and_replaced(plant: Cell) -> None:
    with_host(plant, "killed")
    plant.run_task("killed", f"[ -e /never ] || {WORK}; sleep 30", "killed", **QUICK)
    runs_on(plant, "killed", "killed")
    plant.signal("killed", signal.SIGKILL)
    until(lambda: not plant.running("killed"), 90, "the fence")
    runs_elsewhere(plant, "killed", "killed")
    plant.start_host("killed")
    rows = plant.ended("killed")
    assert [row.reason for row in rows] == ["lost", "normal"]
    plant.assert_never_twice_at_once("killed")
    until(lambda: not plant.left("killed"), 240, "no orphan")


def test_a_frozen_workers_container_is_stopped_and_replaced(plant: Cell) -> None:
    with_host(plant, "frozen")
    plant.run_task("frozen", "sleep 30; echo done", "frozen", **QUICK)
    runs_on(plant, "frozen", "frozen")
    plant.signal("frozen", signal.SIGSTOP)
    until(lambda: not plant.running("frozen"), 90, "the fence")
    runs_elsewhere(plant, "frozen", "frozen")
    plant.signal("frozen", signal.SIGCONT)
    rows = plant.ended("frozen")
    assert [row.reason for row in rows] == ["lost", "normal"]
    plant.assert_never_twice_at_once("frozen")
    until(lambda: not plant.left("frozen"), 240, "no orphan")


def test_a_short_cut_of_the_network_changes_nothing(plant: Cell) -> None:
    with Namespace(plant.temporal_port) as net:
        address = net.address
        with_host(plant, "short", *net.prefix, FLEETWIDE_TEMPORAL_ADDRESS=address)
        plant.run_task("short", "sleep 40; echo done", "short", **SLOW)
        runs_on(plant, "short", "short")
        net.cut()
        until(lambda: plant.host_state("short") == "Disconnected", 120, "the silence is seen")
        until(lambda: plant.attempts("short")[0].state == "Disconnected", 60, "a silent attempt")
        net.mend()
        until(lambda: plant.attempts("short")[0].state == "Started", 240, "the state it left")
        rows = plant.ended("short")
        assert [(row.host_id, row.reason) for row in rows] == [("short", "normal")]
        assert len(plant.lives("short")) == 1
        until(lambda: not plant.left("short"), 180, "no orphan")
        plant.signal("short", signal.SIGKILL)


def test_a_long_cut_of_the_network_has_the_task_stopped_there_and_run_elsewhere(
    plant: Cell,
) -> None:
    with Namespace(plant.temporal_port) as net:
        address = net.address
        with_host(plant, "long", *net.prefix, FLEETWIDE_TEMPORAL_ADDRESS=address)
        plant.run_task("long", "sleep 30; echo done", "long", **QUICK)
        runs_on(plant, "long", "long")
        net.cut()
        until(lambda: not plant.running("long"), 90, "the fence")
        stopped = time.time()
        runs_elsewhere(plant, "long", "long")
        net.mend()
        rows = plant.ended("long")
        assert [row.reason for row in rows] == ["lost", "normal"]
        lives = plant.lives("long")
        assert [life.name[-2:] for life in lives] == ["-1", "-2"], lives
        assert lives[1].started > stopped - 1
        plant.assert_never_twice_at_once("long")
        until(lambda: plant.host_state("long") == "Active", 180, "the host is back")
        until(lambda: not plant.left("long"), 240, "no orphan")
        plant.signal("long", signal.SIGKILL)

"""Hosts whose clocks are five minutes ahead or behind, as their workers see them.

Leases, fences and limits hold all the same, and times in the books are in order.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetwide.store import events
from tests.faults.cells import Cell, cell, until
from tests.integration.containers_fixtures import TinyRegistry, tiny_registry  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SKEWS = {"ahead": 300, "behind": -300}
WRONG_CLOCK = Path(__file__).with_name("wrong_clock")
RUN = timedelta(seconds=7)
"""Longer than the lease of a container that nobody renews."""
QUICK = {"lost_after_seconds": 15, "stop_on_host_after_seconds": 5}


@pytest.fixture(scope="module")
def plant(tiny_registry: TinyRegistry) -> Iterator[Cell]:  # noqa: F811
    """A cell with a host of each wrong clock, and one whose clock is right."""
    folder = Path(tempfile.mkdtemp(prefix="fw-skew-"))
    try:
        with cell(folder, tiny_registry) as made:
            for host, skew in SKEWS.items():
                start(made, host, skew)
            made.start_host("right")
            for host in (*SKEWS, "right"):
                until(lambda host=host: made.host_state(host) == "Active", what=host)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(plant: Cell, host: str, skew: int) -> None:
    path = f"{WRONG_CLOCK}:{os.environ.get('PYTHONPATH', '')}"
    plant.start_host(host, PYTHONPATH=path, WRONG_CLOCK=str(skew))


def runs_on(plant: Cell, task_id: str, host_id: str) -> bool:
    rows = plant.attempts(task_id)
    return bool(rows and rows[-1].host_id == host_id and plant.running(task_id))


def test_what_runs_there_goes_on_and_its_times_are_in_order(plant: Cell) -> None:
    for host in SKEWS:
        plant.run_task(f"well-{host}", f"sleep {RUN.seconds}; echo done", host, **QUICK)
    for host in SKEWS:
        rows = plant.ended(f"well-{host}")
        told_of = [(one.host_id, one.reason, one.message) for one in rows]
        assert [(one.host_id, one.reason) for one in rows] == [(host, "normal")], told_of
        [row] = rows
        times = [row.accepted_at, row.launched_at, row.started_at, row.finished_at]
        told = [one for one in times if one is not None]
        assert len(told) == len(times)
        assert told == sorted(told)
        assert told[-1] <= datetime.now(UTC)
        [life] = plant.lives(f"well-{host}")
        ran = (told[-1] - told[-2]).total_seconds()
        assert abs(ran - (life.ended - life.started)) < RUN.total_seconds() / 2
        with plant.reading() as session:
            stream = events.after(session, 0, subject=f"task/well-{host}")
        moments = [one.at for one in stream if one.kind == "state"]
        assert len(moments) == len(told) + 1
        assert moments == sorted(moments)


def test_what_cannot_renew_its_lease_there_is_stopped_before_another_starts(plant: Cell) -> None:
    for host in SKEWS:
        plant.run_task(f"fenced-{host}", "sleep 600", host, **QUICK)
    for host in SKEWS:
        until(lambda host=host: runs_on(plant, f"fenced-{host}", host), what=f"a task on {host}")
        plant.signal(host, signal.SIGKILL)
    for host, skew in SKEWS.items():
        task = f"fenced-{host}"
        until(lambda task=task: runs_on(plant, task, "right"), what=f"{task} elsewhere")
        plant.assert_never_twice_at_once(task)
        start(plant, host, skew)
        plant.temporal("workflow", "cancel", "--workflow-id", f"task/{task}")
    for host in SKEWS:
        task = f"fenced-{host}"
        until(lambda task=task: not plant.left(task), 240, "no orphan")
        until(lambda task=task: plant.attempts(task)[-1].reason == "killed", what="its end")
        rows = plant.attempts(task)
        assert [(row.host_id, row.reason) for row in rows] == [(host, "lost"), ("right", "killed")]
        lives = plant.lives(task)
        assert [life.name[-2:] for life in lives] == ["-1", "-2"], lives

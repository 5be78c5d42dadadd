"""Retries of all kinds on a server that skips time: who paid for each, and what was waited."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.evictions import Eviction
from fleetwide.models.retries import Lineage
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import events, jobs
from fleetwide.store.tables import AttemptRow
from tests.workflow.world import World, task, world


@pytest.fixture
async def skipping(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, skipping=True) as running:
        yield running


def attempts(plane: World, workflow_id: str) -> list[AttemptRow]:
    with plane.store.read() as session:
        job = jobs.find(session, workflow_id)
        assert job is not None
        assert job.id is not None
        return list(jobs.attempts(session, job.id))


def spent(row: AttemptRow) -> dict[str, Any]:
    return Lineage.model_validate(row.lineage).spent.model_dump()


async def test_each_retry_is_charged_to_who_pays_for_it(skipping: World) -> None:
    plan = ("plan", "pull", "sleep", "exit 1", "sleep", "pull", "exit 0")
    retry = {"retries": 1, "delay_seconds": 600, "max_delay_seconds": 600}
    handle = await skipping.start("ContainerTask", task(*plan, retry=retry), "task/mixed")
    await skipping.until(lambda: (0, 2) in skipping.host.runs)
    await handle.signal("evict", Eviction(reason=EndReason.PREEMPTED, message="make room"))
    await skipping.until(lambda: len(attempts(skipping, "task/mixed")) == 3)
    await skipping.until(lambda: attempts(skipping, "task/mixed")[-1].reason)
    await skipping.environment.sleep(timedelta(seconds=595))
    await skipping.until(lambda: (0, 4) in skipping.host.runs)
    await handle.signal("evict", Eviction(reason=EndReason.HOST_DRAINING, message="make room"))
    assert (await handle.result())["attempts"] == 6
    rows = attempts(skipping, "task/mixed")
    reasons = [
        "imagePullFailed",
        "preempted",
        "failed",
        "hostDraining",
        "imagePullFailed",
        "normal",
    ]
    assert [row.reason for row in rows] == reasons
    lineages = [Lineage.model_validate(row.lineage) for row in rows]
    assert [one.follows for one in lineages] == [None, 1, 2, 3, 4, 5]
    assert [one.delay_seconds for one in lineages] == [0, 1, 0, 600, 0, 2]
    counts = {"user": 1, "system": 2, "eviction": 1, "preemption": 1, "system_in_a_row": 2}
    assert spent(rows[-1]) == counts
    # Another host is sought after its fault alone.
    assert [bool(row.avoid_hosts) for row in rows] == [False, True, False, False, False, True]


async def test_the_back_off_starts_anew_when_an_attempt_ran_for_long(skipping: World) -> None:
    skipping.host.ran_for = timedelta(minutes=6)
    plan = ("plan", "pull", "exit 1", "pull", "exit 0")
    retry = {"retries": 1, "shape": "immediate"}
    handle = await skipping.start("ContainerTask", task(*plan, retry=retry), "task/long")
    await handle.result()
    rows = attempts(skipping, "task/long")
    delays = [Lineage.model_validate(row.lineage).delay_seconds for row in rows]
    assert delays == [0, 1, 0, 1]
    assert (spent(rows[-1])["system"], spent(rows[-1])["system_in_a_row"]) == (2, 1)


async def test_the_stream_tells_every_change_of_an_evicted_task(skipping: World) -> None:
    handle = await skipping.start("ContainerTask", task("plan", "sleep", "exit 0"), "task/told")
    await skipping.until(lambda: skipping.host.running)
    await handle.signal("evict", Eviction(message="make room"))
    await handle.result()
    with skipping.store.read() as session:
        told = events.after(session, 0, subject="task/told")
    changes = [one.data for one in told if one.kind == "state"]
    first = [(one["state"], one.get("reason")) for one in changes if one["attempt"] == 1]
    assert first == [
        (TaskState.ACCEPTED, None),
        (TaskState.LAUNCHED, None),
        (TaskState.KILL_INITIATED, "evicted"),
        (TaskState.FINISHED, "evicted"),
    ]
    second = [one["state"] for one in changes if one["attempt"] == 2]
    assert second == ["Accepted", "Launched", "StartInitiated", "Started", "Finished"]

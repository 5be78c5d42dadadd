"""Capacity groups on a real dev server: what was lent is taken back, and tried again elsewhere."""

from typing import Any

from fleetwide.models.capacity_groups import CapacityGroupChange
from fleetwide.store import capacity_groups, clock, jobs
from fleetwide.store.tables import AttemptRow
from tests.unit.test_preempting import marked, notice_is_over
from tests.workflow.world import World, job, task


def guarantee(plane: World, name: str, cpu: float) -> None:
    wanted = {"tier": "Critical", "guarantee": {"cpu": cpu}, "reason": "a test"}
    change = CapacityGroupChange.model_validate(wanted)
    with plane.store.write() as session:
        capacity_groups.put(session, name, change, now=clock.now(session))


def attempts(plane: World, workflow_id: str) -> list[AttemptRow]:
    with plane.store.read() as session:
        row = jobs.find(session, workflow_id)
        assert row is not None
        assert row.id is not None
        return list(jobs.attempts(session, row.id))


async def test_critical_work_within_its_guarantee_gets_the_place_of_a_flexible_task(
    plane: World,
) -> None:
    guarantee(plane, "web", 1)
    guest = await plane.start("ContainerTask", task("sleep-once", cpu=2), "task/guest")
    await plane.until(lambda: plane.host.running == 1)
    asked: dict[str, Any] = {"cpu": 1, "capacity_group": "web"}
    own = await plane.start("ContainerTask", task("exit", "0", **asked), "task/own")
    assert await plane.until(lambda: marked(plane.store)) == [("task/guest", 0)]
    assert plane.host.running == 1
    notice_is_over(plane.store)
    assert (await own.result())["reason"] == "normal"
    assert (await guest.result())["attempts"] == 2
    first, second = attempts(plane, "task/guest")
    assert first.reason == "preempted"
    assert first.message.endswith("task/own of capacity group web needs it")
    assert second.lineage["spent"]["preemption"] == 1
    assert second.lineage["spent"]["eviction"] == 0


async def test_of_an_array_only_the_child_that_has_to_leave_is_stopped(plane: World) -> None:
    guarantee(plane, "web", 1)
    guest = await plane.start("BatchJob", job("sleep-once", size=2, cpu=1), "batch/guest")
    await plane.until(lambda: plane.host.running == 2)
    asked: dict[str, Any] = {"cpu": 1, "capacity_group": "web"}
    own = await plane.start("ContainerTask", task("exit", "0", **asked), "task/own")
    [(_, index)] = await plane.until(lambda: marked(plane.store))
    notice_is_over(plane.store)
    assert (await own.result())["reason"] == "normal"
    await plane.until(lambda: len(attempts(plane, "batch/guest")) == 3)
    ends = {(row.index, row.attempt): row.reason for row in attempts(plane, "batch/guest")}
    assert ends[index, 1] == "preempted"
    assert ends[1 - index, 1] is None
    await guest.cancel()

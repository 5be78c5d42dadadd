"""``BatchJob`` on a real dev server, with a scripted host."""

from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from fleetwide.models.containers import KillRequest
from fleetwide.models.evictions import Eviction
from fleetwide.models.task_states import EndReason
from fleetwide.store import jobs
from tests.workflow.world import World, job, world

RETRY = {"retries": 1, "delay_seconds": 0.05}


async def test_children_that_fail_first_succeed_on_their_retry(plane: World) -> None:
    handle = await plane.start("BatchJob", job("flaky", size=20, retry=RETRY), "batch/flaky")
    result = await handle.result()
    assert (result["state"], result["succeeded"], result["attempts"]) == ("succeeded", 20, 24)
    retried = [child["index"] for child in result["children"] if child["attempts"] == 2]
    assert retried == [0, 5, 10, 15]
    assert sorted(plane.host.runs) == sorted(
        [(index, 1) for index in range(20)] + [(index, 2) for index in retried]
    )
    assert plane.reserved() == {}


async def test_ends_that_arrive_together_are_all_booked(plane: World) -> None:
    spec = job("brief", size=40, cpu=0.05)
    result = await (await plane.start("BatchJob", spec, "batch/burst")).result()
    assert result["succeeded"] == 40
    with plane.store.read() as session:
        row = jobs.find(session, "batch/burst")
        assert row is not None
        assert row.id is not None
        assert len(jobs.attempts(session, row.id)) == 40


async def test_no_more_children_run_than_the_job_allows_and_the_host_has(plane: World) -> None:
    spec = job("brief", size=12, cpu=0.1, max_parallel=3)
    await (await plane.start("BatchJob", spec, "batch/three")).result()
    assert plane.host.most_running <= 3
    plane.host.most_running = 0
    await (await plane.start("BatchJob", job("brief", size=12), "batch/four")).result()
    assert plane.host.most_running <= 4


async def test_children_that_fail_for_good_fail_the_job_with_the_counts(plane: World) -> None:
    handle = await plane.start("BatchJob", job("odd", size=6), "batch/odd")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("JobFailed", "3 of 6 children failed for good")
    assert (cause.details[0]["succeeded"], cause.details[0]["failed"]) == (3, 3)


async def test_cancel_stops_all_children_and_frees_the_host(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep", size=10), "batch/c")
    await plane.until(lambda: plane.host.running == 4)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (plane.host.running, plane.reserved()) == (0, {})


async def test_the_cancel_update_ends_it_with_its_counts(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep", size=10), "batch/u")
    await plane.until(lambda: plane.host.running == 4)
    await handle.execute_update("cancel", KillRequest(reason="enough"))
    result = await handle.result()
    assert (result["state"], result["cancelled"]) == ("cancelled", 10)
    assert (plane.host.running, plane.reserved()) == (0, {})


async def test_a_job_whose_image_does_not_exist_fails_at_once(plane: World) -> None:
    spec = job("exit", "0", size=3, image="apps/nothing:1")
    with pytest.raises(WorkflowFailureError) as caught:
        await (await plane.start("BatchJob", spec, "batch/missing")).result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "ImageNotFound"


async def test_queries_tell_the_counts_and_the_children(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep", size=6), "batch/q")

    async def counts() -> Any:
        found = (await handle.query("status"))["counts"]
        return found if found["running"] == 4 else None

    assert (await plane.until(counts))["pending"] == 2
    states = [child["state"] for child in await handle.query("children")]
    assert states.count("running") == 4
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_long_job_continues_as_new_and_loses_nothing(tmp_path: Any) -> None:
    few = ("limit.historyCount.suggestContinueAsNew=60",)
    async with world(tmp_path, dynamic=few) as plane:
        spec = job("flaky", size=30, retry=RETRY)
        handle = await plane.start("BatchJob", spec, "batch/long")
        result = await handle.result()
        assert (result["succeeded"], result["attempts"]) == (30, 36)
        assert len(set(plane.host.runs)) == len(plane.host.runs) == 36
        newest = await plane.client.get_workflow_handle("batch/long").describe()
        assert newest.run_id != handle.first_execution_run_id


async def test_evicted_children_are_tried_again_at_nobodys_expense(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep-once", size=4), "batch/evict")
    await plane.until(lambda: plane.host.running == 4)
    await handle.signal("evict", Eviction(message="only this one", index=2))
    await plane.until(lambda: (2, 2) in plane.host.runs)
    await handle.signal("evict", Eviction(reason=EndReason.HOST_DRAINING, message="all"))
    result = await handle.result()
    assert (result["state"], result["succeeded"], result["attempts"]) == ("succeeded", 4, 8)
    with plane.store.read() as session:
        row = jobs.find(session, "batch/evict")
        assert row is not None
        assert row.id is not None
        reasons = {a.index: a.reason for a in jobs.attempts(session, row.id) if a.attempt == 1}
    assert reasons == {index: "evicted" if index == 2 else "hostDraining" for index in range(4)}

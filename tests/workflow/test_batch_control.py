"""Batch jobs that are held, released, cut short, cancelled in part, judged by a quorum."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)

from fleetwide.models.batch import ChildState
from fleetwide.models.batch_control import (
    CancelChildren,
    HoldRequest,
    ReleaseRequest,
    ResizeRequest,
)
from fleetwide.models.containers import KillRequest
from fleetwide.models.evictions import Eviction
from fleetwide.store import children, events, jobs
from fleetwide.store.batch_tables import JobWaitRow
from fleetwide.store.tables import JobRow
from tests.workflow.world import World, job
from workers.job_waits import JobWaitTeller

Handle = WorkflowHandle[Any, Any]
HOLD = HoldRequest(reason="the bucket is being moved", by="ann")


def row_of(plane: World, workflow_id: str) -> JobRow:
    with plane.store.read() as session:
        row = jobs.find(session, workflow_id)
        assert row is not None
        return row


def told(plane: World, workflow_id: str) -> list[str]:
    with plane.store.read() as session:
        return [one.kind for one in events.after(session, 0, subject=workflow_id)]


def counts(plane: World, workflow_id: str) -> dict[ChildState, int]:
    with plane.store.read() as session:
        row = jobs.find(session, workflow_id)
        return {k: n for k, n in children.counts(session, row).items() if n} if row else {}


async def failure(handle: Handle) -> Any:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    return caught.value.cause


async def test_a_job_on_hold_runs_once_it_is_released(plane: World) -> None:
    handle = await plane.start("BatchJob", job("exit", "0", size=3, hold=True), "batch/held")
    await plane.until(lambda: "held" in told(plane, "batch/held"))
    assert (await handle.query("status"))["waiting"]["code"] == "held"
    with plane.store.read() as session:
        waiting = children.oldest_wait(session, row_of(plane, "batch/held"))
    assert waiting is not None
    assert waiting.code == "held"
    assert plane.host.runs == []
    await handle.execute_update("release", ReleaseRequest(by="ann"))
    assert (await handle.result())["succeeded"] == 3


async def test_what_was_asked_for_is_taken_back_by_a_hold(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep-once", size=6), "batch/hold")
    await plane.until(lambda: plane.host.running == 4)
    await plane.until(lambda: counts(plane, "batch/hold").get(ChildState.PENDING))
    await handle.execute_update("hold", HOLD)
    with plane.store.read() as session:
        job_row = jobs.find(session, "batch/hold")
        assert job_row is not None
        assert job_row.id is not None
        assert len(jobs.attempts(session, job_row.id)) == 4
    stop = HOLD.model_copy(update={"stop_running": True})
    await handle.execute_update("hold", stop)
    await plane.until(lambda: plane.reserved() == {})
    assert (await handle.query("status"))["counts"]["pending"] == 6
    await handle.execute_update("release", ReleaseRequest())
    await plane.until(lambda: (5, 1) in plane.host.runs)
    assert {(0, 2), (3, 2)} <= set(plane.host.runs)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_some_children_are_cancelled_and_the_job_succeeds_without_them(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep-once", size=10), "batch/part")
    await plane.until(lambda: plane.host.running == 4)
    request = CancelChildren(indexes=[1, "5-9"], reason="not wanted", by="ann")
    answer = await handle.execute_update("cancel_children", request)
    assert answer == {"cancelled": 5, "stopping": 1, "ended_already": 0}
    again = await handle.execute_update("cancel_children", request)
    assert again == {"cancelled": 0, "stopping": 0, "ended_already": 0}
    await plane.until(lambda: counts(plane, "batch/part").get(ChildState.CANCELLED) == 6)
    await plane.until(lambda: plane.host.running == 4)
    await handle.signal("evict", Eviction(message="a second try ends at once"))
    result = await handle.result()
    assert (result["state"], result["succeeded"], result["cancelled"]) == ("succeeded", 4, 6)
    assert {index for index, _ in plane.host.runs} == {0, 1, 2, 3, 4}
    assert plane.reserved() == {}


async def test_children_that_are_not_there_are_refused(plane: World) -> None:
    handle = await plane.start("BatchJob", job("sleep", size=2), "batch/few")
    await plane.until(lambda: plane.host.running == 2)
    request = CancelChildren(indexes=["1-2"], reason="one too many")
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update("cancel_children", request)
    assert "there is no child 2: the job has 2" in str(caught.value.cause)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_job_that_fails_fast_stops_the_others(plane: World) -> None:
    spec = job("even", size=8, on_failure="fail_fast")
    handle = await plane.start("BatchJob", spec, "batch/fast")
    cause = await failure(handle)
    assert "failed for good: it fails fast" in cause.message
    assert (plane.host.running, plane.reserved()) == (0, {})
    assert row_of(plane, "batch/fast").state == "failed"


async def test_a_quorum_lets_a_job_succeed_though_some_failed(plane: World) -> None:
    handle = await plane.start("BatchJob", job("odd", size=6, success_quorum=3), "batch/quorum")
    result = await handle.result()
    assert (result["state"], result["succeeded"], result["failed"]) == ("succeeded", 3, 3)


async def test_a_job_ends_when_its_time_is_over(plane: World) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    spec = job("sleep", size=2, deadline=soon.isoformat())
    cause = await failure(await plane.start("BatchJob", spec, "batch/late"))
    assert cause.message.startswith("its time was over at ")
    assert plane.reserved() == {}


async def test_a_job_starts_at_its_time(plane: World) -> None:
    later = datetime.now(UTC) + timedelta(seconds=1.5)
    spec = job("exit", "0", size=1, start_after=later.isoformat())
    handle = await plane.start("BatchJob", spec, "batch/later")
    await plane.until(lambda: "startsLater" in told(plane, "batch/later"))
    assert (await handle.result())["succeeded"] == 1
    assert datetime.now(UTC) >= later


async def test_jobs_wait_for_others_and_end_when_those_end_otherwise(plane: World) -> None:
    first = await plane.start("BatchJob", job("sleep", size=1), "batch/first")
    ok = job("exit", "0", size=1, depends_on=[{"job": "first"}])
    other = job("exit", "0", size=1, depends_on=[{"job": "first", "condition": "afternotok"}])
    after, instead = (
        await plane.start("BatchJob", ok, "batch/after"),
        await plane.start("BatchJob", other, "batch/instead"),
    )
    await plane.until(lambda: "waitsForJobs" in told(plane, "batch/after"))
    await plane.until(lambda: "waitsForJobs" in told(plane, "batch/instead"))
    waiting = (await after.query("status"))["waiting"]
    assert waiting["sentence"] == "waits for 1 of 1 jobs to end: first (afterok)"
    await first.execute_update("cancel", KillRequest(reason="enough"))
    await JobWaitTeller(plane.store, plane.client).turn()
    assert (await instead.result())["succeeded"] == 1
    cause = await failure(after)
    assert cause.message == "batch job first cancelled: afterok can never hold"
    assert row_of(plane, "batch/after").state == "failed"
    with plane.store.read() as session:
        assert session.exec(select(JobWaitRow)).all() == []


async def test_a_job_that_names_none_that_is_there_fails_at_once(plane: World) -> None:
    spec = job("exit", "0", size=1, depends_on=[{"job": "nobody"}])
    cause = await failure(await plane.start("BatchJob", spec, "batch/alone"))
    assert (cause.type, cause.message) == (
        "InvalidInput",
        "depends_on: there is no batch job nobody",
    )


async def test_a_job_that_accumulates_takes_more_until_it_is_closed(plane: World) -> None:
    spec = job("exit", "0", size=2, accumulate=True)
    handle = await plane.start("BatchJob", spec, "batch/more")
    await plane.until(lambda: counts(plane, "batch/more").get(ChildState.SUCCEEDED) == 2)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update("resize", ResizeRequest(size=1, reason="fewer"))
    assert "2 children were asked for" in str(caught.value.cause)
    await handle.execute_update("resize", ResizeRequest(size=4, reason="more came"))
    await plane.until(lambda: counts(plane, "batch/more").get(ChildState.SUCCEEDED) == 4)
    assert row_of(plane, "batch/more").size == 4
    await handle.execute_update("resize", ResizeRequest(size=5, reason="the last", close=True))
    result = await handle.result()
    assert (result["state"], result["size"], result["succeeded"]) == ("succeeded", 5, 5)
    assert sorted(plane.host.runs) == [(index, 1) for index in range(5)]

"""``ContainerTask`` on a real dev server, with a scripted host."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from fleetwide.models.containers import KillRequest
from fleetwide.models.evictions import Eviction
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import jobs
from tests.workflow.world import DIGEST, HOST, World, task
from workers.watching import Watcher

MOST_EVENTS = 20


async def test_a_task_runs_once_and_leaves_its_evidence(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("exit", "0"), "task/one")
    result = await handle.result()
    assert (result["reason"], result["exit_code"], result["host_id"]) == ("normal", 0, HOST)
    assert result["image"] == f"apps/hello@{DIGEST}"
    assert plane.host.runs == [(0, 1)]
    assert plane.reserved() == {}
    with plane.store.read() as session:
        row = jobs.find(session, "task/one")
        assert row is not None
        assert (row.state, row.image) == (TaskState.FINISHED, f"apps/hello@{DIGEST}")


async def test_one_attempt_costs_few_events(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("exit", "0"), "task/lean")
    await handle.result()
    history = await handle.fetch_history()
    assert len(history.events) <= MOST_EVENTS


async def test_a_failed_attempt_is_tried_again_by_policy(plane: World) -> None:
    retry = {"retries": 2, "delay_seconds": 0.05}
    handle = await plane.start("ContainerTask", task("flaky", retry=retry), "task/flaky")
    assert (await handle.result())["attempts"] == 2
    assert plane.host.runs == [(0, 1), (0, 2)]


async def test_a_task_that_fails_for_good_fails_the_workflow(plane: World) -> None:
    retry = {"retries": 1, "delay_seconds": 0.05}
    handle = await plane.start("ContainerTask", task("exit", "3", retry=retry), "task/bad")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("TaskFailed", "failed: exit code 3")
    assert cause.details[0]["attempts"] == 2
    assert plane.reserved() == {}


async def test_the_platforms_faults_do_not_use_up_the_users_retries(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("unpullable"), "task/pull")
    assert (await handle.result())["attempts"] == 2
    with plane.store.read() as session:
        row = jobs.find(session, "task/pull")
        assert row is not None
        assert row.id is not None
        reasons = [attempt.reason for attempt in jobs.attempts(session, row.id)]
    assert reasons == [EndReason.IMAGE_PULL_FAILED, EndReason.NORMAL]


async def test_an_image_that_does_not_exist_ends_it_at_once(plane: World) -> None:
    spec = task("exit", "0", image="apps/nothing:1")
    handle = await plane.start("ContainerTask", spec, "task/missing")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "ImageNotFound"
    assert cause.message == "container.image: apps/nothing:1 is not in the registry"


async def waiting(plane: World, workflow_id: str) -> Any:
    handle = plane.client.get_workflow_handle(workflow_id)
    return await plane.until(lambda: _waiting(handle))


async def _waiting(handle: Any) -> Any:
    return (await handle.query("status"))["waiting"]


async def test_a_wait_is_told_with_code_sentence_numbers_and_since(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("exit", "0", cpu=64), "task/big")
    told = await waiting(plane, "task/big")
    assert told["code"] == "exceedsEveryHost"
    assert told["sentence"].startswith("asks for 64 CPU, 16 MiB and ")  # and disk, if unsaid
    assert "; the largest of 1 host, h1, has 2 CPU and 4096 MiB in all" in told["sentence"]
    assert told["numbers"]["largestHostCpu"] == 2
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert plane.host.runs == []


async def test_cancel_while_it_runs_stops_the_container_and_frees_the_host(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("sleep"), "task/c")
    await plane.until(lambda: plane.host.running)
    assert plane.reserved() == {HOST: (500, 16 * 1024**2)}
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert plane.host.running == 0
    assert plane.reserved() == {}


async def test_cancel_while_it_waits_for_its_retry(plane: World) -> None:
    retry = {"retries": 1, "delay_seconds": 3600, "max_delay_seconds": 3600}
    handle = await plane.start("ContainerTask", task("exit", "1", retry=retry), "task/r")
    assert (await waiting(plane, "task/r"))["code"] == "waitingRetry"
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert plane.host.runs == [(0, 1)]


async def test_kill_ends_it_with_the_reason_and_only_once(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("sleep"), "task/k")
    await plane.until(lambda: plane.host.running)
    await plane.kill(handle, "no longer needed")
    result = await handle.result()
    assert (result["reason"], result["message"]) == ("killed", "no longer needed")
    assert result["exit_code"] == 143
    assert plane.reserved() == {}


async def test_a_kill_that_comes_with_the_start_is_not_lost(plane: World) -> None:
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "ContainerTask",
        task("sleep"),
        id="task/ks",
        task_queue="control",
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    await plane.client.execute_update_with_start_workflow(
        "kill", KillRequest(reason="at once"), start_workflow_operation=start
    )
    handle = await start.workflow_handle()
    assert (await handle.result())["message"] == "at once"


@pytest.mark.parametrize(
    "argument", [{}, {"reason": ""}, {"reason": "x", "when": "now"}, "why", None]
)
async def test_a_bad_kill_is_refused_and_changes_nothing(plane: World, argument: Any) -> None:
    handle = await plane.start("ContainerTask", task("sleep"), "task/kb")
    await plane.until(lambda: plane.host.running)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("kill", argument)
    assert (await handle.query("status"))["state"] == "Launched"
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_kill_without_an_argument_is_refused(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("sleep"), "task/kn")
    await plane.until(lambda: plane.host.running)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("kill")
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_what_a_terminated_task_held_is_given_back(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("sleep"), "task/t")
    await plane.until(lambda: plane.host.running)
    await handle.terminate()
    watcher = Watcher(plane.store, plane.client, reconcile_after=timedelta(0))
    await watcher.reconcile()
    assert plane.reserved() == {}
    with plane.store.read() as session:
        row = jobs.find(session, "task/t")
        assert row is not None
        assert row.finished_at is not None


async def test_many_tasks_never_take_more_than_the_host_has(plane: World) -> None:
    handles = await asyncio.gather(
        *(plane.start("ContainerTask", task("brief"), f"task/m{n}") for n in range(16))
    )
    await asyncio.gather(*(handle.result() for handle in handles))
    assert len(plane.host.runs) == 16
    assert plane.host.most_running <= 4


async def test_an_evicted_attempt_is_stopped_and_tried_again_at_nobodys_expense(
    plane: World,
) -> None:
    handle = await plane.start("ContainerTask", task("sleep-once"), "task/evict")
    await plane.until(lambda: plane.host.running)
    elsewhere = Eviction(message="not this host", host_id="h2")
    await handle.signal("evict", elsewhere)
    await handle.signal(
        "evict", Eviction(reason=EndReason.PREEMPTED, message="first", host_id=HOST)
    )
    await handle.signal("evict", Eviction(message="second"))
    result = await handle.result()
    assert (result["reason"], result["attempts"]) == ("normal", 2)
    assert plane.host.runs == [(0, 1), (0, 2)]
    with plane.store.read() as session:
        row = jobs.find(session, "task/evict")
        assert row is not None
        assert row.id is not None
        first, second = jobs.attempts(session, row.id)
    assert (first.reason, first.message, first.host_id) == (EndReason.PREEMPTED, "first", HOST)
    assert first.exit_code == 143
    assert second.reason == EndReason.NORMAL
    assert plane.reserved() == {}


async def test_a_kill_of_a_task_that_is_being_evicted_ends_it(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("stubborn"), "task/ek")
    await plane.until(lambda: plane.host.running)
    await handle.signal("evict", Eviction(message="leave"))
    await plane.until(lambda: plane.host.asked_to_stop)
    killing = asyncio.create_task(plane.kill(handle, "for good"))
    await asyncio.sleep(0.2)
    plane.host.stubborn.set()
    await killing
    result = await handle.result()
    assert (result["reason"], result["message"]) == ("killed", "for good")
    assert plane.host.runs == [(0, 1)]
    assert plane.reserved() == {}


async def test_an_eviction_that_comes_when_nothing_runs_changes_nothing(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("exit", "0", cpu=64), "task/ew")
    await handle.signal("evict", Eviction(message="leave"))
    await waiting(plane, "task/ew")
    assert (await handle.query("status"))["attempt"] == 1
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_kill_is_not_forgotten_when_the_host_fails_meanwhile(plane: World) -> None:
    handle = await plane.start("ContainerTask", task("deserter"), "task/deserted")
    await plane.until(lambda: plane.host.running)
    async with asyncio.timeout(20):
        await plane.kill(handle, "enough")
    assert (await handle.result())["reason"] == "killed"
    assert plane.host.runs == [(0, 1)]


async def test_an_eviction_is_not_forgotten_when_the_host_fails_meanwhile(plane: World) -> None:
    spec = task("plan", "deserter", "exit 0")
    spec["container"]["disconnect"] = {"lost_after_seconds": 20, "replace_while_disconnected": True}
    handle = await plane.start("ContainerTask", spec, "task/deserted")
    await plane.until(lambda: plane.host.running)
    await handle.signal("evict", Eviction(message="make room"))
    async with asyncio.timeout(20):
        assert (await handle.result())["reason"] == "normal"
    assert plane.host.runs == [(0, 1), (0, 2)]

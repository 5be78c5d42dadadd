"""``TaskErrand`` on a real Temporal server; the host's side is scripted."""

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from tests.workflow.errand_hosts import errand_host, execution, running_task
from tests.workflow.world import HOST, World


async def test_an_errand_leaves_the_tasks_history_as_it_is(plane: World) -> None:
    async with errand_host(plane) as errands, running_task(plane, "a") as task:
        before = len((await task.fetch_history()).events)
        handle = await plane.start("TaskErrand", execution("a", "true"), "errand/a")
        result = await handle.result()
        assert len((await task.fetch_history()).events) == before
    assert (result["exit_code"], result["host_id"], result["errand_id"]) == (0, HOST, "a")
    [placed] = errands.asked
    assert (placed.key.workflow_id, placed.key.attempt) == ("task/a", 1)


async def test_a_command_on_a_host_that_falls_silent_is_never_started_again(plane: World) -> None:
    async with errand_host(plane) as errands, running_task(plane, "b"):
        handle = await plane.start("TaskErrand", execution("b", "silence"), "errand/b")
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
        assert len(errands.asked) == 1
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert "nobody knows how far the errand came" in cause.message


async def test_a_cancel_while_the_host_works_ends_it_there_first(plane: World) -> None:
    async with errand_host(plane) as errands, running_task(plane, "c"):
        handle = await plane.start("TaskErrand", execution("c", "sleep"), "errand/c")
        await plane.until(lambda: errands.asked)
        await handle.cancel()
        await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_cancel_while_no_host_takes_it(plane: World) -> None:
    async with running_task(plane, "d"):
        handle = await plane.start("TaskErrand", execution("d", "true"), "errand/d")
        await handle.cancel()
        await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)

"""Golden histories of errands."""

from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from tests.workflow.errand_hosts import errand_host, execution, running_task
from tests.workflow.world import World


async def errand_is_done(plane: World) -> Any:
    async with errand_host(plane), running_task(plane, "errand-done"):
        handle = await plane.start("TaskErrand", execution("errand-done", "true"), "errand/done")
        await handle.result()
    return handle


async def errand_is_cancelled(plane: World) -> Any:
    async with errand_host(plane) as errands, running_task(plane, "errand-cancelled"):
        spec = execution("errand-cancelled", "sleep")
        handle = await plane.start("TaskErrand", spec, "errand/cancelled")
        await plane.until(lambda: errands.asked)
        await handle.cancel()
        await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    return handle


async def errand_has_no_task(plane: World) -> Any:
    handle = await plane.start("TaskErrand", execution("nothing", "true"), "errand/nowhere")
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


SHAPES = (errand_is_done, errand_is_cancelled, errand_has_no_task)

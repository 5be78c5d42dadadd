"""Golden histories of requests for capacity."""

from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from tests.workflow.capacity_worlds import DECISION, asked, put, soon
from tests.workflow.world import World

TYPE = "CapacityRequest"


async def capacity_is_given_for_a_while(plane: World) -> Any:
    """Refused by the queues first, then applied, then given back by itself."""
    put(plane, golden={"guarantee": {"cpu": 1}}, golden__team={})
    spec = asked("golden/team", until=soon(3))
    handle = await plane.start(TYPE, spec, "capacity-request/lent")
    with suppress(WorkflowUpdateFailedError):
        await handle.execute_update("approve", DECISION)
    put(plane, golden={"guarantee": {"cpu": 4}})
    await handle.execute_update("approve", DECISION)
    await handle.result()
    return handle


async def capacity_is_rejected(plane: World) -> Any:
    put(plane, golden={"guarantee": {"cpu": 4}})
    handle = await plane.start(TYPE, asked("golden"), "capacity-request/rejected")
    await handle.execute_update("reject", DECISION)
    await handle.result()
    return handle


async def capacity_is_withdrawn(plane: World) -> Any:
    put(plane, other={})
    spec = asked("other", until=soon(3600))
    handle = await plane.start(TYPE, spec, "capacity-request/withdrawn")
    await handle.execute_update("approve", DECISION)
    await handle.execute_update("withdraw", {"by": "ana", "reason": "no longer needed"})
    await handle.result()
    return handle


async def capacity_is_cancelled(plane: World) -> Any:
    put(plane, other={})
    spec = asked("other", until=soon(3600))
    handle = await plane.start(TYPE, spec, "capacity-request/cancelled")
    await handle.execute_update("approve", DECISION)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    return handle


SHAPES = (
    capacity_is_given_for_a_while,
    capacity_is_rejected,
    capacity_is_withdrawn,
    capacity_is_cancelled,
)

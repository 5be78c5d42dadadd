"""A host's side of errands, scripted by the first word of the command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import CancelledError

from fleetwide.models.errands import ErrandResult, ExecWork, PlacedErrand, errand_task_queue
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.world import HOST, World, task


@dataclass
class ScriptedErrands:
    """Remembers what was asked for."""

    asked: list[PlacedErrand] = field(default_factory=list)

    @activity.defn(name="errands.run")
    async def run_errand(self, placed: PlacedErrand) -> ErrandResult:
        self.asked.append(placed)
        word = placed.work.command[0] if isinstance(placed.work, ExecWork) else ""
        while word in ("sleep", "silence"):
            if word == "sleep":
                activity.heartbeat()
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                raise CancelledError("stopped") from None
        return ErrandResult(errand_id=placed.errand_id, host_id=placed.host_id, exit_code=0)


@asynccontextmanager
async def errand_host(plane: World) -> AsyncIterator[ScriptedErrands]:
    """With a worker on the host's queue of errands."""
    errands = ScriptedErrands()
    role = WorkerRole(errand_task_queue(HOST), activities=[errands.run_errand])
    async with make_worker(plane.client, role):
        yield errands


@asynccontextmanager
async def running_task(plane: World, task_id: str) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """A task that runs until the block ends."""
    before = plane.host.running
    handle = await plane.start("ContainerTask", task("sleep"), f"task/{task_id}")
    await plane.until(lambda: plane.host.running > before)
    yield handle
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


def execution(task_id: str, *command: str) -> dict[str, Any]:
    return {"task_id": task_id, "by": "ana", "work": {"kind": "exec", "command": list(command)}}

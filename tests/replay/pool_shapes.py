"""Golden histories of host pools, on a platform of their own, as its machines are a script's."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowHistory

from fleetwide.models.hosts import HostState
from fleetwide.store import pools
from tests.workflow.pool_machines import ScriptedMachines, scripted_machines
from tests.workflow.world import World


@dataclass
class Kept:
    """A history that was fetched while its server was there."""

    history: WorkflowHistory

    async def fetch_history(self) -> WorkflowHistory:
        return self.history


def joined(fleet: ScriptedMachines) -> int:
    with fleet.plane.store.read() as session:
        live = pools.machines_of(session, "p", ended_too=0)
        return sum(one.host_state == HostState.ACTIVE for one in live)


async def pool_is_sized_and_deleted(_plane: World) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        async with scripted_machines(Path(folder)) as fleet:
            handle = await fleet.begin(desired=2, scale=False)
            await fleet.plane.until(lambda: joined(fleet) == 2)
            await handle.execute_update("scale", {"desired": 1, "reason": "enough"})
            await fleet.plane.until(lambda: joined(fleet) == 1 and len(fleet.machines) == 1)
            await handle.execute_update("refresh", {"reason": "a new release"})
            await handle.execute_update("delete", {"reason": "over"})
            await handle.result()
            return Kept(await handle.fetch_history())


async def pool_is_refused_and_cancelled(_plane: World) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        async with scripted_machines(Path(folder)) as fleet:
            fleet.short = True
            handle = await fleet.begin(desired=1)
            await fleet.plane.until(lambda: _told(handle))
            fleet.short = False
            await handle.execute_update("scale", {"max": 2, "reason": "try again"})
            await fleet.plane.until(lambda: joined(fleet) == 1)
            await handle.cancel()
            await fleet.plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
            return Kept(await handle.fetch_history())


async def _told(handle: WorkflowHandle[Any, Any]) -> bool:
    return "no more of these" in (await handle.query("status"))["message"]


SHAPES = (pool_is_sized_and_deleted, pool_is_refused_and_cancelled)

"""Services on the control plane of ``world``: the scheduler's turn, and hosts that tell of starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from sqlmodel import col, select
from temporalio.client import WorkflowHandle

from fleetwide.models.containers import AttemptKey
from fleetwide.models.hosts import ContainerReport
from fleetwide.models.service_documents import ServiceStatus
from fleetwide.models.task_states import TaskState
from fleetwide.store import jobs
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, JobRow
from tests.workflow.world import World, task
from workers.services import ServiceTeller

CPU = 0.1


def service(*command: str, desired: int = 3, **more: Any) -> dict[str, Any]:
    """The input of a ``ContainerService`` as people write it."""
    one = task(*command, cpu=CPU, **({"image": more.pop("image")} if "image" in more else {}))
    deploy = {"healthy_seconds": 0, **more.pop("deploy", {})}
    capacity = {"desired": desired, "max": 20}
    return {**one, "capacity": capacity, "deploy": deploy, **more}


@asynccontextmanager
async def serving(plane: World) -> AsyncIterator[None]:
    """The scheduler tells services what changed, and hears at once of what hosts started."""
    turning = asyncio.create_task(_turn(plane))
    try:
        yield
    finally:
        turning.cancel()
        with suppress(asyncio.CancelledError):
            await turning


async def _turn(plane: World) -> None:
    teller = ServiceTeller(plane.store, plane.client, rest_seconds=0)
    while True:
        tell_starts(plane.store)
        await teller.turn()
        await asyncio.sleep(0.05)


def tell_starts(store: Store) -> None:
    """Every copy that has a host is said to have started."""
    query = (
        select(AttemptRow, JobRow)
        .where(AttemptRow.job_id == JobRow.id, AttemptRow.state == TaskState.LAUNCHED)
        .where(col(JobRow.service_id).is_not(None))
    )
    with store.read() as session:
        keys = [
            AttemptKey(workflow_id=job.workflow_id, run_id=job.run_id)
            for _, job in session.exec(query)
        ]
    now = datetime.now(UTC)
    with store.write() as session:
        for key in keys:
            report = ContainerReport(key=key, state=TaskState.STARTED, since=now)
            jobs.mark(session, report, now=now)


async def status(handle: WorkflowHandle[Any, Any]) -> ServiceStatus:
    return ServiceStatus.model_validate(await handle.query("status"))


async def until_ready(plane: World, handle: WorkflowHandle[Any, Any], count: int) -> ServiceStatus:
    """Until so many copies are ready, no others live, and the deploy is over."""

    async def reached() -> ServiceStatus | None:
        try:
            told = await status(handle)
        except Exception as error:
            if "not been looked at" in str(error):
                return None
            raise
        over = told.deploy is not None and told.deploy.finished_at is not None
        quiet = told.live == told.ready == count and told.stopping == 0
        return told if over and quiet and told.capacity.desired == count else None

    found: ServiceStatus = await plane.until(reached)
    return found

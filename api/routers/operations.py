"""Any workflow by its id, and the health of what the API stands on."""

import asyncio
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from api import lifecycles
from api.deps import Platform, PlatformDep
from api.rights import require_operation
from fleetwide import __version__
from fleetwide.errors import FleetwideError
from fleetwide.models.documents import Health, Operation
from fleetwide.models.scheduler_documents import SchedulerDocument
from fleetwide.store import scheduler_lease, scheduling

HEALTH_TIMEOUT = timedelta(seconds=2)

router = APIRouter(tags=["operations"])


@router.get("/v1/operations/{workflow_id:path}")
async def get_operation(request: Request, platform: PlatformDep, workflow_id: str) -> Operation:
    """A workflow run: status, result or failure, and its page in the Temporal Web UI.

    What the registry does is told to accounts of the registry that may do it.
    """
    await require_operation(request, platform, workflow_id)
    return await lifecycles.operation(platform, workflow_id)


@router.get("/v1/scheduler")
def get_scheduler(platform: PlatformDep) -> SchedulerDocument:
    """Which scheduler places work, since when, and until when it may without renewing."""
    with platform.store.read() as session:
        lease = scheduler_lease.look(session)
        pending, _ = scheduling.work(session)
    if lease is None:
        return SchedulerDocument(pending=pending)
    return SchedulerDocument(
        holder=lease.holder if lease.held else None,
        token=lease.token,
        since=lease.taken_at,
        expires_at=lease.expires_at,
        pending=pending,
    )


@router.get("/healthz")
async def healthz(platform: PlatformDep, response: Response) -> Health:
    """200 when the process, the database and Temporal answer; else 503 and which does not."""
    temporal, database = await asyncio.gather(_temporal(platform), _database(platform))
    checks = {"temporal": temporal, "database": database}
    healthy = set(checks.values()) == {"ok"}
    response.status_code = 200 if healthy else 503
    return Health(status="ok" if healthy else "unhealthy", version=__version__, checks=checks)


async def _temporal(platform: Platform) -> str:
    try:
        client = await platform.temporal.client()
        async with lifecycles.translated("health"):
            healthy = await client.service_client.check_health(timeout=HEALTH_TIMEOUT)
    except FleetwideError as error:
        return error.message
    return "ok" if healthy else "not serving"


async def _database(platform: Platform) -> str:
    try:
        await run_in_threadpool(_select_one, platform)
    except Exception:
        return "does not answer"
    return "ok"


def _select_one(platform: Platform) -> None:
    with platform.store.read() as session:
        session.connection().execute(text("SELECT 1"))

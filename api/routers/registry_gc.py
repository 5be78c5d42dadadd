"""The registry's upkeep by itself: garbage collection, reconciliation, scrub."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api import lifecycles, registry_upkeep
from api.deps import LimitQuery, Platform, PlatformDep, WaitQuery
from api.examples import GARBAGE, RECONCILE, SCRUB, UPKEEP
from api.registry_upkeep import RUN_PATTERN, start_of
from api.rights import ADMINISTRATION, SIGNED_IN, VisitorDep
from api.starts import start_and_answer
from fleetwide.models.documents import Operation, Page
from fleetwide.models.registry_gc import (
    GarbageOverview,
    GarbageQueue,
    GarbageRequest,
    GarbageStatus,
    PauseRequest,
    RateRequest,
    ReconcileRequest,
    ScrubRequest,
    UpkeepEntry,
    UpkeepKind,
    UpkeepReport,
    UpkeepSchedule,
)
from fleetwide.store import registry_gc, registry_reports
from fleetwide.temporal.upkeep import workflow_id

router = APIRouter(
    prefix="/v1/registry", tags=["registry"], dependencies=[*SIGNED_IN, ADMINISTRATION]
)

RunId = Annotated[str, Path(pattern=RUN_PATTERN, description="what follows registry-gc/")]


def _new() -> str:
    return str(ULID()).lower()


@router.post("/gc", status_code=202)
async def collect(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    request: Annotated[GarbageRequest, Body(openapi_examples=GARBAGE)],
    wait: WaitQuery = 0,
) -> Operation:
    """Remove what nobody needs any more, while pushes and pulls go on.

    The operation's result is a `GarbageReport`; with `dry_run` it is what would be freed.
    """
    start = start_of(UpkeepKind.GARBAGE, _new(), request, by=visitor.signs())
    return await start_and_answer(platform, response, start, wait)


@router.get("/gc")
async def get_overview(platform: PlatformDep) -> GarbageOverview:
    """What waits for a review, what runs now, what runs by itself."""
    return GarbageOverview(
        queue=await run_in_threadpool(_queue, platform),
        running=await registry_upkeep.running(platform),
        schedules=await registry_upkeep.entries(platform),
    )


def _queue(platform: Platform) -> GarbageQueue:
    with platform.store.read() as session:
        return registry_gc.queue(session, datetime.now(UTC))


@router.get("/gc/{run}")
async def get_status(platform: PlatformDep, run: RunId) -> GarbageStatus:
    """Where a collection stands."""
    return await registry_upkeep.status(platform, run)


@router.post("/gc/{run}/pause")
async def pause(
    platform: PlatformDep, visitor: VisitorDep, run: RunId, request: PauseRequest
) -> GarbageStatus:
    """Let a collection do nothing more after the batch that runs."""
    return await _update(platform, run, "pause", visitor.signed(request))


@router.post("/gc/{run}/resume")
async def resume(
    platform: PlatformDep, visitor: VisitorDep, run: RunId, request: PauseRequest
) -> GarbageStatus:
    """Let a collection go on."""
    return await _update(platform, run, "resume", visitor.signed(request))


@router.post("/gc/{run}/rate")
async def set_rate(platform: PlatformDep, run: RunId, request: RateRequest) -> GarbageStatus:
    """How many things a collection looks at in a second from the next batch on."""
    return await _update(platform, run, "set_rate", request)


async def _update(
    platform: Platform, run: str, name: str, request: PauseRequest | RateRequest
) -> GarbageStatus:
    answer = await lifecycles.update(platform, workflow_id(UpkeepKind.GARBAGE, run), name, request)
    return GarbageStatus.model_validate(answer)


@router.post("/reconcile", status_code=202)
async def reconcile(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    request: Annotated[ReconcileRequest, Body(openapi_examples=RECONCILE)],
    wait: WaitQuery = 0,
) -> Operation:
    """Compare the index with Distribution's storage, and mend what differs.

    The operation's result is a `ReconcileReport`.
    """
    start = start_of(UpkeepKind.RECONCILE, _new(), request, by=visitor.signs())
    return await start_and_answer(platform, response, start, wait)


@router.post("/scrub", status_code=202)
async def scrub(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    request: Annotated[ScrubRequest, Body(openapi_examples=SCRUB)],
    wait: WaitQuery = 0,
) -> Operation:
    """Read every blob again and compare it with its digest; the result is a `ScrubReport`."""
    start = start_of(UpkeepKind.SCRUB, _new(), request, by=visitor.signs())
    return await start_and_answer(platform, response, start, wait)


@router.put("/upkeep")
async def put_upkeep(
    platform: PlatformDep,
    visitor: VisitorDep,
    request: Annotated[UpkeepSchedule, Body(openapi_examples=UPKEEP)],
) -> Page[UpkeepEntry]:
    """Let the registry look after itself: how often it collects, reconciles and scrubs.

    What is not named stays as it is; with nothing named, only what is missing is made.
    """
    await registry_upkeep.put(platform, request)
    await run_in_threadpool(_tell_scheduled, platform, request, visitor.signs())
    return Page(items=await registry_upkeep.entries(platform))


def _tell_scheduled(platform: Platform, request: UpkeepSchedule, by: str) -> None:
    named = request.model_dump(mode="json", include=request.model_fields_set)
    what = ", ".join(f"{key}: {value}" for key, value in sorted(named.items())) or "the defaults"
    with platform.store.write() as session:
        registry_reports.tell_scheduled(session, what, named, by=by, now=datetime.now(UTC))


@router.get("/upkeep/{kind}/reports")
def list_reports(
    platform: PlatformDep,
    kind: UpkeepKind,
    cursor: Annotated[int | None, Query(ge=1, description="of an earlier page")] = None,
    limit: LimitQuery = 50,
) -> Page[UpkeepReport]:
    """What earlier runs told, the newest first."""
    with platform.store.read() as session:
        rows = registry_reports.newest(session, kind, before=cursor, limit=limit)
    items = [
        UpkeepReport(
            at=row.at, workflow_id=row.subject, sentence=row.message, report=row.data["report"]
        )
        for row in rows
    ]
    return Page(items=items, next=str(rows[-1].seq) if len(rows) == limit else None)

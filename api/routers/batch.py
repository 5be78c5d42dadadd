"""Compute Managed Batch: jobs and their children."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Response
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api import lifecycles
from api.admission import admit
from api.deps import (
    CursorDep,
    LabelsQuery,
    LimitQuery,
    Platform,
    PlatformDep,
    WaitQuery,
    next_cursor,
)
from api.documents import job_document
from api.examples import CHILDREN_CANCEL, JOB_HOLD, JOB_RELEASE, JOB_RESIZE, JOB_SPEC, KILL
from api.lifecycles import Start, idempotent_id
from api.logs import LogRequest, log_response
from api.queue_rights import PersonDep, admit_job
from api.routers.containers import IdempotencyKey
from api.starts import start_and_answer
from fleetwide.errors import NotFound
from fleetwide.models.batch import BatchJobSpec, Child
from fleetwide.models.batch_control import (
    CancelChildren,
    ChildrenCancelled,
    HoldRequest,
    ReleaseRequest,
    ResizeRequest,
)
from fleetwide.models.batch_states import BatchState
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import JobDocument, Operation, OperationStatus, Page
from fleetwide.models.labels import wanted_labels
from fleetwide.store import children, job_lists, jobs
from fleetwide.store.job_lists import Wanted
from fleetwide.store.tables import JobRow
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/batch/jobs", tags=["batch"])

ENDED: dict[OperationStatus, BatchState] = {
    OperationStatus.RUNNING: BatchState.RUNNING,
    OperationStatus.COMPLETED: BatchState.SUCCEEDED,
    OperationStatus.FAILED: BatchState.FAILED,
    OperationStatus.CANCELLED: BatchState.CANCELLED,
    OperationStatus.TERMINATED: BatchState.CANCELLED,
    OperationStatus.TIMED_OUT: BatchState.FAILED,
}


@router.post("", status_code=202)
async def submit(
    platform: PlatformDep,
    person: PersonDep,
    response: Response,
    spec: Annotated[BatchJobSpec, Body(openapi_examples=JOB_SPEC)],
    idempotency_key: IdempotencyKey = None,
    wait: WaitQuery = 0,
) -> Operation:
    """Run an array of containers as one job."""
    filled = await run_in_threadpool(admit_job, platform, person, spec)
    await run_in_threadpool(admit, platform, spec.container, spec.capacity_group)
    job_id = idempotent_id(idempotency_key) if idempotency_key else str(ULID()).lower()
    start = Start(
        workflow_type="BatchJob",
        workflow_id=f"batch/{job_id}",
        spec=filled,
        asked=spec,
        summary=f"{spec.app}: {spec.size} x {spec.container.image}",
        compare=idempotency_key is not None,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.app,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "batch",
                attributes.QUEUE: spec.queue,
            }
        ),
    )
    return await start_and_answer(platform, response, start, wait)


@router.get("")
def list_jobs(
    platform: PlatformDep,
    cursor: CursorDep,
    app: str | None = None,
    labels: LabelsQuery = [],  # noqa: B006 - FastAPI copies it
    limit: LimitQuery = 50,
) -> Page[JobDocument]:
    """Jobs, newest first; only those that carry all the labels."""
    wanted = Wanted("batch", app=app, labels=wanted_labels(labels))
    with platform.store.read() as session:
        rows = job_lists.listing(session, wanted, before=cursor, limit=limit)
        items = [job_document(platform.settings, session, row) for row in rows]
    return Page(items=items, next=next_cursor(items, limit, rows[-1].id if rows else None))


@router.get("/{job_id}")
async def get_job(platform: PlatformDep, job_id: str) -> JobDocument:
    """A job: counts of its children by state, the reason of a wait."""
    known = await run_in_threadpool(_find, platform, job_id)
    return known or await _not_booked_yet(platform, job_id)


def _find(platform: Platform, job_id: str) -> JobDocument | None:
    with platform.store.read() as session:
        row = jobs.find(session, f"batch/{job_id}")
        return job_document(platform.settings, session, row) if row else None


async def _not_booked_yet(platform: Platform, job_id: str) -> JobDocument:
    """What Temporal knows of a job whose row no worker has written, or ever will."""
    try:
        operation = await lifecycles.operation(platform, f"batch/{job_id}")
    except NotFound as error:
        raise NotFound(f"there is no batch job {job_id}", hint="fleetwide batch list") from error
    return JobDocument(
        id=job_id,
        workflow_id=operation.workflow_id,
        run_id=operation.run_id,
        app=operation.summary.partition(":")[0],
        state=ENDED[operation.status],
        error=operation.error,
        created_at=operation.started_at,
        finished_at=operation.closed_at,
        links=operation.links,
    )


@router.get("/{job_id}/children")
async def list_children(
    platform: PlatformDep,
    job_id: str,
    cursor: CursorDep,
    limit: LimitQuery = 50,
) -> Page[Child]:
    """Children by index, each with how its newest attempt stands."""
    await get_job(platform, job_id)
    return await run_in_threadpool(_children, platform, job_id, cursor or 0, limit)


def _children(platform: Platform, job_id: str, first: int, limit: int) -> Page[Child]:
    with platform.store.read() as session:
        row: JobRow | None = jobs.find(session, f"batch/{job_id}")
        if row is None:
            return Page(items=[])
        items = children.listing(session, row, first=first, limit=limit)
        behind = first + limit
    return Page(items=items, next=str(behind) if behind < row.size else None)


@router.get("/{job_id}/children/{index}/logs", response_class=Response)
async def child_logs(
    platform: PlatformDep,
    job_id: str,
    index: Annotated[int, Path(ge=0, le=100_000)],
    request: Annotated[LogRequest, Query()],
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The log of a child's newest attempt; the same forms as a task's log."""
    await get_job(platform, job_id)
    return await log_response(platform, f"batch/{job_id}", index, request, last_event_id)


@router.post("/{job_id}/cancel")
async def cancel_job(
    platform: PlatformDep, job_id: str, request: Annotated[KillRequest, Body(openapi_examples=KILL)]
) -> JobDocument:
    """Stop all children and end the job."""
    await lifecycles.update(platform, f"batch/{job_id}", "cancel", request)
    return await get_job(platform, job_id)


@router.post("/{job_id}/hold")
async def hold_job(
    platform: PlatformDep,
    job_id: str,
    request: Annotated[HoldRequest, Body(openapi_examples=JOB_HOLD)],
) -> JobDocument:
    """Ask for no more hosts until it is released; children that run go on, unless told else."""
    await lifecycles.update(platform, f"batch/{job_id}", "hold", request)
    return await get_job(platform, job_id)


@router.post("/{job_id}/release")
async def release_job(
    platform: PlatformDep,
    job_id: str,
    request: Annotated[ReleaseRequest, Body(openapi_examples=JOB_RELEASE)],
) -> JobDocument:
    """Go on after a hold."""
    await lifecycles.update(platform, f"batch/{job_id}", "release", request)
    return await get_job(platform, job_id)


@router.post("/{job_id}/children/cancel")
async def cancel_children(
    platform: PlatformDep,
    job_id: str,
    request: Annotated[CancelChildren, Body(openapi_examples=CHILDREN_CANCEL)],
) -> ChildrenCancelled:
    """Cancel some children; the job goes on, and can succeed without them."""
    answer = await lifecycles.update(platform, f"batch/{job_id}", "cancel_children", request)
    return ChildrenCancelled.model_validate(answer)


@router.post("/{job_id}/resize")
async def resize_job(
    platform: PlatformDep,
    job_id: str,
    request: Annotated[ResizeRequest, Body(openapi_examples=JOB_RESIZE)],
) -> JobDocument:
    """Set how many children a job has that accumulates, or close it."""
    await lifecycles.update(platform, f"batch/{job_id}", "resize", request)
    return await get_job(platform, job_id)

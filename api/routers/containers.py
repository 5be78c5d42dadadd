"""Titus: container tasks, their logs, and the hosts that they run on."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api import lifecycles
from api.admission import admit
from api.deps import (
    CursorDep,
    LimitQuery,
    Platform,
    PlatformDep,
    WaitQuery,
    next_cursor,
)
from api.documents import task_document
from api.examples import TASK_KILL, TASK_SPEC
from api.lifecycles import Start, idempotent_id
from api.logs import LogRequest, log_response
from api.starts import start_and_answer
from api.task_filters import TaskFilterDep
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.models.documents import (
    Operation,
    OperationStatus,
    Page,
    TaskDocument,
)
from fleetwide.models.task_kills import TaskKill
from fleetwide.models.task_states import TaskState
from fleetwide.store import job_lists, jobs
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1", tags=["containers"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@router.post("/tasks", status_code=202)
async def run_task(
    platform: PlatformDep,
    response: Response,
    spec: Annotated[ContainerTaskSpec, Body(openapi_examples=TASK_SPEC)],
    idempotency_key: IdempotencyKey = None,
    wait: WaitQuery = 0,
) -> Operation:
    """Run one container to its end on a host that the scheduler chooses."""
    if spec.membership is not None:
        raise InvalidInput.for_field("membership", "is set by the platform alone")
    await run_in_threadpool(admit, platform, spec.container, spec.capacity_group)
    task_id = idempotent_id(idempotency_key) if idempotency_key else str(ULID()).lower()
    start = Start(
        workflow_type="ContainerTask",
        workflow_id=f"task/{task_id}",
        spec=spec,
        summary=f"{spec.app}: {spec.container.image}",
        compare=idempotency_key is not None,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.app,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "containers",
            }
        ),
    )
    return await start_and_answer(platform, response, start, wait)


@router.get("/tasks")
def list_tasks(
    platform: PlatformDep, cursor: CursorDep, asked: TaskFilterDep, limit: LimitQuery = 50
) -> Page[TaskDocument]:
    """Tasks, newest first, those in the archive too; only those that meet all filters."""
    with platform.store.read() as session:
        rows = job_lists.listing(session, asked.wanted(), before=cursor, limit=limit)
        items = [task_document(platform.settings, session, row) for row in rows]
    return Page(items=items, next=next_cursor(items, limit, rows[-1].id if rows else None))


@router.get("/tasks/{task_id}")
async def get_task(platform: PlatformDep, task_id: str) -> TaskDocument:
    """A task with its attempts, the reason of a wait, and the evidence of its end."""
    known = await run_in_threadpool(_find, platform, task_id)
    return known or await _not_booked_yet(platform, task_id)


def _find(platform: Platform, task_id: str) -> TaskDocument | None:
    with platform.store.read() as session:
        row = jobs.find(session, f"task/{task_id}")
        return task_document(platform.settings, session, row) if row else None


async def _not_booked_yet(platform: Platform, task_id: str) -> TaskDocument:
    """What Temporal knows of a task whose row no worker has written, or ever will."""
    operation = await _operation(platform, task_id)
    running = operation.status is OperationStatus.RUNNING
    return TaskDocument(
        id=task_id,
        workflow_id=operation.workflow_id,
        run_id=operation.run_id,
        app=operation.summary.partition(":")[0],
        state=TaskState.ACCEPTED if running else TaskState.FINISHED,
        image=operation.summary.partition(": ")[2],
        message="" if running else (operation.error.detail if operation.error else ""),
        error=operation.error,
        created_at=operation.started_at,
        finished_at=operation.closed_at,
        links=operation.links,
    )


async def _operation(platform: Platform, task_id: str) -> Operation:
    try:
        return await lifecycles.operation(platform, f"task/{task_id}")
    except NotFound as error:
        raise NotFound(f"there is no task {task_id}", hint="fleetwide task list") from error


@router.post("/tasks/{task_id}/cancel")
async def cancel_task(
    platform: PlatformDep,
    task_id: str,
    request: Annotated[TaskKill, Body(openapi_examples=TASK_KILL)],
) -> TaskDocument:
    """Stop the container and end the task; the reason is kept with it.

    A copy of a service leaves its load balancers first, and the answer does not wait for that; then
    it is stopped, and another takes its place.
    """
    await lifecycles.update(platform, f"task/{task_id}", "kill", request)
    return await get_task(platform, task_id)


@router.get("/tasks/{task_id}/logs", response_class=Response)
async def task_logs(
    platform: PlatformDep,
    task_id: str,
    request: Annotated[LogRequest, Query()],
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The newest attempt's log as text; with ``follow`` all attempts' as server-sent events.

    An event's id is ``<attempt>:<byte offset behind it>``; send it as Last-Event-ID to go on.
    """
    await get_task(platform, task_id)
    return await log_response(platform, f"task/{task_id}", 0, request, last_event_id)

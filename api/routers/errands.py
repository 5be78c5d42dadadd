"""Errands: a command in a running task, its files, its figures. The host opens no port for it."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response
from starlette.concurrency import run_in_threadpool

from api import errands, lifecycles
from api.deps import PlatformDep, WaitQuery
from api.examples import EXEC
from api.starts import answer, start_and_answer
from fleetwide.models.base import Name
from fleetwide.models.documents import Operation
from fleetwide.models.errands import (
    ErrandInput,
    ExecRequest,
    FetchRequest,
    FileListing,
    FilesWork,
    InsidePath,
    StatsWork,
    UsageSample,
)
from fleetwide.models.texts import Line
from fleetwide.providers import errand_objects

router = APIRouter(prefix="/v1", tags=["containers"])

InContainer = Annotated[Name | None, Query(description="an extra container; unset, the main one")]
By = Annotated[Line, Query(max_length=200, description="who asks, as they say")]


@router.post("/tasks/{task_id}/exec", status_code=202)
async def exec_in_task(
    platform: PlatformDep,
    response: Response,
    task_id: str,
    request: Annotated[ExecRequest, Body(openapi_examples=EXEC)],
    wait: WaitQuery = 0,
) -> Operation:
    """Run a command in the task's container; follow it by ``/v1/errands/<id>/output``.

    It is started once at most, with the rights of the task and within its limits.
    """
    await errands.refuse_unless_live(platform, task_id)
    errand_id = errand_objects.new_errand_id()
    given = request.given()
    if given != ErrandInput():
        await run_in_threadpool(errand_objects.save_input, platform.objects, errand_id, given)
    start = errands.start_of(errand_id, task_id, request.by, request.work())
    return await start_and_answer(platform, response, start, wait)


@router.get("/tasks/{task_id}/files")
async def list_files(
    platform: PlatformDep,
    task_id: str,
    path: Annotated[InsidePath, Query(description="a folder or file")] = "/",
    container: InContainer = None,
    by: By = "",
) -> FileListing:
    """The entries of a folder in the task's container, as its own programs see them."""
    result = await errands.do(platform, task_id, by, FilesWork(path=path, container=container))
    return await run_in_threadpool(errand_objects.load_listing, platform.objects, result.errand_id)


@router.post("/tasks/{task_id}/fetch", status_code=202)
async def fetch_files(
    platform: PlatformDep,
    response: Response,
    task_id: str,
    request: FetchRequest,
    wait: WaitQuery = 0,
) -> Operation:
    """Bring a file, or a folder as a tar, to ``/v1/errands/<id>/content``."""
    await errands.refuse_unless_live(platform, task_id)
    errand_id = errand_objects.new_errand_id()
    start = errands.start_of(errand_id, task_id, request.by, request.work())
    return await start_and_answer(platform, response, start, wait)


@router.get("/tasks/{task_id}/stats")
async def task_stats(
    platform: PlatformDep, task_id: str, container: InContainer = None
) -> UsageSample:
    """What the task's container takes at the moment."""
    result = await errands.do(platform, task_id, "", StatsWork(container=container))
    return await run_in_threadpool(errands.sample_of, platform.objects, result.errand_id)


@router.post("/tasks/{task_id}/stats", status_code=202)
async def follow_stats(
    platform: PlatformDep, response: Response, task_id: str, request: StatsWork
) -> Operation:
    """Measure the container again and again; ``stdout`` of the errand has a sample a line."""
    await errands.refuse_unless_live(platform, task_id)
    errand_id = errand_objects.new_errand_id()
    start = errands.start_of(errand_id, task_id, "", request)
    return await start_and_answer(platform, response, start, 0)


@router.get("/errands/{errand_id}")
async def get_errand(platform: PlatformDep, response: Response, errand_id: str) -> Operation:
    """Where an errand stands, and its result."""
    return await answer(platform, response, errands.workflow_id_of(errand_id))


@router.get("/errands/{errand_id}/output", response_class=Response)
async def errand_output(
    platform: PlatformDep,
    errand_id: str,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Its outputs as server-sent events ``stdout`` and ``stderr`` (base64), then ``end``.

    An event's id is ``<bytes of stdout>:<bytes of stderr>``; send it as Last-Event-ID to go on.
    """
    await lifecycles.operation(platform, errands.workflow_id_of(errand_id))
    return await errands.follow(platform, errand_id, last_event_id)


@router.get("/errands/{errand_id}/content", response_class=Response)
async def errand_content(platform: PlatformDep, errand_id: str) -> Response:
    """What a fetch brought: the file's bytes, or a tar of the folder."""
    return await errands.content(platform, errand_id)


@router.post("/errands/{errand_id}/cancel")
async def cancel_errand(platform: PlatformDep, response: Response, errand_id: str) -> Operation:
    """End an errand; a command is killed with what it has started."""
    workflow_id = errands.workflow_id_of(errand_id)
    await lifecycles.cancel(platform, workflow_id, "asked for")
    return await answer(platform, response, workflow_id)

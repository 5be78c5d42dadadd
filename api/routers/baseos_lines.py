"""BaseOS: lines as a whole: channels and their history, retention, schedules."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api import schedules
from api.deps import LimitQuery, Platform, PlatformDep, WaitQuery
from api.documents import channel_document
from api.examples import RETENTION, SCHEDULE, STAND
from api.lifecycles import Start
from api.releases import check_spec, must_be_a_line
from api.starts import start_and_answer
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import RetentionSpec
from fleetwide.models.documents import ChannelDocument, Operation, Page
from fleetwide.models.os_documents import LineSchedule, ScheduleDocument
from fleetwide.models.os_releases import ChannelMove, StandRequest
from fleetwide.models.os_reports import RetentionRequest
from fleetwide.store import channels, releases
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/os", tags=["baseos"])

StandBody = Annotated[StandRequest, Body(openapi_examples=STAND)]


@router.get("/channels")
def list_channels(platform: PlatformDep, name: str | None = None) -> Page[ChannelDocument]:
    """Channels of one line or of all."""
    with platform.store.read() as session:
        return Page(items=[channel_document(row) for row in channels.listing(session, name)])


@router.get("/channels/{name}/history")
def get_history(platform: PlatformDep, name: str, limit: LimitQuery = 50) -> Page[ChannelMove]:
    """Who moved which channel of the line where, when and why; newest first."""
    must_be_a_line(platform, name)
    with platform.store.read() as session:
        return Page(items=channels.history(session, name, limit))


@router.post("/retention", status_code=202)
async def retain(
    platform: PlatformDep,
    response: Response,
    request: Annotated[RetentionRequest, Body(openapi_examples=RETENTION)],
    wait: WaitQuery = 0,
) -> Operation:
    """Retire the releases of a line that its policy lets go and that nobody uses.

    What is not given of the policy is taken from the spec of the line's newest release. The
    operation's result is a `RetentionReport`; with `dry_run` it is what would happen.
    """
    whole = await run_in_threadpool(_with_policy, platform, request)
    start = Start(
        workflow_type="OSRetention",
        workflow_id=f"os-retention/{request.name}/{str(ULID()).lower()}",
        spec=whole,
        summary=f"retire the releases of {request.name} that its policy lets go",
        attributes=attributes.pairs({attributes.APP: request.name, attributes.PRODUCT: "baseos"}),
    )
    return await start_and_answer(platform, response, start, wait)


def _with_policy(platform: Platform, request: RetentionRequest) -> RetentionRequest:
    must_be_a_line(platform, request.name)
    with platform.store.read() as session:
        newest = releases.latest(session, request.name)
        spec: dict[str, Any] = newest.spec if newest else {}
    known = RetentionSpec.model_validate(spec.get("retention", {}))
    given = request.retention.model_dump(exclude_unset=True)
    return request.model_copy(update={"retention": known.model_copy(update=given)})


@router.put("/schedules/{name}")
async def put_schedule(
    platform: PlatformDep,
    name: str,
    line: Annotated[LineSchedule, Body(openapi_examples=SCHEDULE)],
) -> ScheduleDocument:
    """Let a line build, look for security fixes and retire old releases by itself.

    Doing it again changes the schedules; a line that is paused stays so.
    """
    _check(name, line)
    await schedules.put(platform, name, line)
    return await schedules.find(platform, name)


def _check(name: str, line: LineSchedule) -> None:
    spec = line.spec
    if spec.name != name:
        raise InvalidInput.for_field(
            "spec.name", f"must be {name}, as in the path", given=spec.name
        )
    if spec.version is not None:
        message = "must be unset in a schedule: each build takes the next free one"
        raise InvalidInput.for_field("spec.version", message, given=spec.version)
    if spec.force:
        message = "must be unset in a schedule: it would build the same again and again"
        raise InvalidInput.for_field("spec.force", message, given=spec.force)
    check_spec(spec)


@router.get("/schedules")
async def list_schedules(platform: PlatformDep) -> Page[ScheduleDocument]:
    """All lines that do something by themselves: the next times, the last starts."""
    return Page(items=await schedules.every_line(platform))


@router.get("/schedules/{name}")
async def get_schedule(platform: PlatformDep, name: str) -> ScheduleDocument:
    """What one line does by itself."""
    return await schedules.find(platform, name)


@router.post("/schedules/{name}/pause")
async def pause(platform: PlatformDep, name: str, request: StandBody) -> ScheduleDocument:
    """Let the times pass without a start."""
    await schedules.pause(platform, name, request)
    return await schedules.find(platform, name)


@router.post("/schedules/{name}/resume")
async def resume(platform: PlatformDep, name: str, request: StandBody) -> ScheduleDocument:
    """Go on after a pause."""
    await schedules.resume(platform, name, request)
    return await schedules.find(platform, name)


@router.delete("/schedules/{name}", status_code=204, response_class=Response)
async def remove(platform: PlatformDep, name: str) -> None:
    """The line does nothing by itself any more; what is running goes on."""
    await schedules.remove(platform, name)

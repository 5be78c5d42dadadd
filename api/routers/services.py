"""Services: long-running containers that are kept up, deployed, scaled and moved."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Response
from starlette.concurrency import run_in_threadpool
from temporalio.common import WorkflowIDReusePolicy

from api import lifecycles
from api.admission import admit
from api.deps import CursorDep, LabelsQuery, LimitQuery, Platform, PlatformDep, next_cursor
from api.examples import SERVICE, SERVICE_ATTRIBUTES, TASK_MOVE
from api.lifecycles import Start
from api.service_documents import (
    activity_document,
    ended_copy,
    live_copy,
    revision_document,
    service_document,
)
from api.starts import answer, start_and_answer
from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.documents import Operation, Page
from fleetwide.models.labels import wanted_labels
from fleetwide.models.revisions import ServicePlan
from fleetwide.models.service_documents import (
    ActivityDocument,
    CopyDocument,
    NewService,
    RevisionDocument,
    ServiceDocument,
    ServiceState,
)
from fleetwide.models.service_moves import (
    CopyTermination,
    DeployRequest,
    Kept,
    ServiceAttributes,
    ServiceMove,
    ServiceProcesses,
    ServiceRollback,
    ServiceScale,
    ServiceSwitch,
    TaskMove,
)
from fleetwide.services.revisions import plan
from fleetwide.store import service_changes, service_copies, service_history, services
from fleetwide.store.services import Wanted
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/services", tags=["containers"])

MAX_TEXT = 300
ServiceName = Annotated[str, Path(pattern=NAME_PATTERN)]
_Text = Annotated[str | None, Query(max_length=MAX_TEXT)]
IfMatch = Annotated[
    str | None, Header(description="the version that the service has to have", max_length=40)
]


@router.post("", status_code=202)
async def create_service(
    platform: PlatformDep,
    response: Response,
    new: Annotated[NewService, Body(openapi_examples=SERVICE)],
) -> Operation:
    """Start a service. It lives until it is deleted; one of the same name must not exist."""
    await run_in_threadpool(admit, platform, new.spec.container, new.spec.capacity_group)
    await run_in_threadpool(_refuse_known, platform, new.name)
    spec = new.spec
    start = Start(
        workflow_type="ContainerService",
        workflow_id=_workflow(new.name),
        spec=spec,
        summary=f"service {new.name}: {spec.capacity.desired} x {spec.container.image}",
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        unique=True,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.app,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "containers",
            }
        ),
    )
    return await start_and_answer(platform, response, start, 0)


def _refuse_known(platform: Platform, name: str) -> None:
    """One whose workflow was terminated still is there: it begins again by itself."""
    with platform.store.read() as session:
        row = services.find(session, name)
    if row is not None and row.state != ServiceState.DELETED:
        raise Conflict(f"service {name} exists already", hint=f"fleetwide service show {name}")


@router.get("")
def list_services(  # noqa: PLR0913, PLR0917 - one parameter per filter
    platform: PlatformDep,
    app: _Text = None,
    owner: _Text = None,
    state: Annotated[list[ServiceState] | None, Query()] = None,
    label: LabelsQuery = (),  # type: ignore[assignment] # FastAPI makes it a list
    cursor: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    limit: LimitQuery = 50,
) -> Page[ServiceDocument]:
    """Services by name; those that are not deleted, unless states are given."""
    wanted = Wanted(app=app, owner=owner, labels=wanted_labels(label))
    if state:
        wanted = Wanted(app=app, owner=owner, labels=wanted.labels, states=tuple(state))
    with platform.store.read() as session:
        rows = services.listing(session, wanted, after=cursor, limit=limit)
        items = [service_document(session, row) for row in rows]
    return Page(items=items, next=rows[-1].service_id if len(rows) == limit else None)


@router.get("/{name}")
def get_service(platform: PlatformDep, name: ServiceName, response: Response) -> ServiceDocument:
    """One service: what is wanted of it, how far it is, what it waits for."""
    found = _found(platform, name)
    response.headers["ETag"] = f'"{found.status.version}"'
    return found


@router.get("/{name}/copies")
def list_copies(
    platform: PlatformDep,
    name: ServiceName,
    cursor: CursorDep,
    ended: Annotated[bool, Query(description="those that have ended too")] = False,
    limit: LimitQuery = 200,
) -> Page[CopyDocument]:
    """The copies, newest first."""
    with platform.store.read() as session:
        row = services.get(session, name)
        seconds = services.spec_of(session, row).deploy.healthy_seconds
        live = {one.row.id: one for one in service_copies.seen(session, name)}
        rows = service_copies.listing(session, name, ended=ended, before=cursor, limit=limit)
        now = datetime.now(UTC)
        items = [
            live_copy(live[one.id], now, seconds) if one.id in live else ended_copy(one)
            for one in rows
        ]
    return Page(items=items, next=next_cursor(items, limit, rows[-1].id if rows else None))


@router.get("/{name}/revisions")
def list_revisions(
    platform: PlatformDep, name: ServiceName, cursor: CursorDep, limit: LimitQuery = 50
) -> Page[RevisionDocument]:
    """The versions of the spec, newest first, with what became of each."""
    with platform.store.read() as session:
        services.get(session, name)
        found = service_history.revisions(session, name, before=cursor, limit=limit + 1)
    rows = found[:limit]
    items = [
        revision_document(row, before)
        for row, before in zip(rows, [*found[1:], None], strict=False)
    ]
    return Page(items=items, next=next_cursor(items, limit, rows[-1].number if rows else None))


@router.get("/{name}/activity")
def list_activity(
    platform: PlatformDep, name: ServiceName, cursor: CursorDep, limit: LimitQuery = 50
) -> Page[ActivityDocument]:
    """What was done to the service, newest first: what, by whom, why, by which numbers."""
    with platform.store.read() as session:
        services.get(session, name)
        rows = service_history.activities(session, name, before=cursor, limit=limit)
    items = [activity_document(row) for row in rows]
    return Page(items=items, next=next_cursor(items, limit, rows[-1].id if rows else None))


@router.put("/{name}")
async def deploy_service(
    platform: PlatformDep,
    name: ServiceName,
    request: DeployRequest,
    if_match: IfMatch = None,
) -> ServiceDocument:
    """A new version of the spec; copies are replaced only where what they run is another one.

    Capacity, the switch and the processes stay as they are when the spec does not name them. With
    `If-Match` or `expected_version` it is refused when somebody has changed the service meanwhile.
    """
    spec = request.spec
    await run_in_threadpool(admit, platform, spec.container, spec.capacity_group)
    version = _version(if_match) if if_match is not None else request.expected_version
    wanted = _keeping(request).model_copy(update={"expected_version": version})
    return await _asked(platform, name, "deploy", wanted)


@router.post("/{name}/plan")
def plan_service(platform: PlatformDep, name: ServiceName, request: DeployRequest) -> ServicePlan:
    """What `PUT` of the same request would do now; its `index` is what `If-Match` can insist on."""
    admit(platform, request.spec.container, request.spec.capacity_group)
    with platform.store.read() as session:
        row = services.get(session, name)
        services.expect(row, request.expected_version)
        current = services.spec_of(session, row)
    return plan(name, row.version, current, service_changes.wanted(current, _keeping(request)))


def _keeping(request: DeployRequest) -> DeployRequest:
    """What has updates of its own stays, unless the spec names it."""
    unnamed = [kept for kept in Kept if kept.value not in request.spec.model_fields_set]
    return request.model_copy(update={"keep": sorted({*request.keep, *unnamed})})


def _version(if_match: str) -> int:
    text = if_match.removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput.for_field("If-Match", "must be a version of the service", given=if_match)
    return int(text)


@router.post("/{name}/scale")
async def scale_service(
    platform: PlatformDep, name: ServiceName, request: ServiceScale
) -> ServiceDocument:
    """Change how many copies there are; what is not given stays."""
    return await _asked(platform, name, "scale", request)


@router.post("/{name}/enabled")
async def switch_service(
    platform: PlatformDep, name: ServiceName, request: ServiceSwitch
) -> ServiceDocument:
    """Let things scale the service by themselves, or not."""
    return await _asked(platform, name, "set_enabled", request)


@router.post("/{name}/processes")
async def set_processes(
    platform: PlatformDep, name: ServiceName, request: ServiceProcesses
) -> ServiceDocument:
    """What nobody may do to `desired` until it is allowed again."""
    return await _asked(platform, name, "set_processes", request)


@router.post("/{name}/attributes")
async def set_attributes(
    platform: PlatformDep,
    name: ServiceName,
    request: Annotated[ServiceAttributes, Body(openapi_examples=SERVICE_ATTRIBUTES)],
) -> ServiceDocument:
    """Change owner and labels: no revision, no deploy; copies that run keep those they have."""
    return await _asked(platform, name, "set_attributes", request)


@router.post("/{name}/pause")
async def pause_deploy(
    platform: PlatformDep, name: ServiceName, request: ServiceMove
) -> ServiceDocument:
    """Hold the deploy: each version keeps its share of the copies."""
    return await _asked(platform, name, "pause", request)


@router.post("/{name}/resume")
async def resume_deploy(
    platform: PlatformDep, name: ServiceName, request: ServiceMove
) -> ServiceDocument:
    """Let a paused deploy go on."""
    return await _asked(platform, name, "resume", request)


@router.post("/{name}/promote")
async def promote_deploy(
    platform: PlatformDep, name: ServiceName, request: ServiceMove
) -> ServiceDocument:
    """Let the new version have everything: end a canary, or switch blue/green."""
    return await _asked(platform, name, "promote", request)


@router.post("/{name}/abort")
async def abort_deploy(
    platform: PlatformDep, name: ServiceName, request: ServiceMove
) -> ServiceDocument:
    """Give the deploy up where it stands."""
    return await _asked(platform, name, "abort", request)


@router.post("/{name}/rollback")
async def roll_back(
    platform: PlatformDep, name: ServiceName, request: ServiceRollback
) -> ServiceDocument:
    """Back to an earlier revision; unset, to the last good one."""
    return await _asked(platform, name, "rollback", request)


@router.post("/{name}/terminate-copy")
async def terminate_copy(
    platform: PlatformDep, name: ServiceName, request: CopyTermination
) -> ServiceDocument:
    """End one copy; another takes its place, unless the service shrinks."""
    return await _asked(platform, name, "terminate_copy", request)


@router.post("/{name}/move-task")
async def move_task(
    platform: PlatformDep,
    name: ServiceName,
    request: Annotated[TaskMove, Body(openapi_examples=TASK_MOVE)],
) -> ServiceDocument:
    """Let a running copy of this service be one of another, without a restart.

    This one wants a copy less from then on, the other one more. 409 says what keeps it from it.
    """
    return await _asked(platform, name, "move_task", request)


@router.delete("/{name}", status_code=202)
async def delete_service(
    platform: PlatformDep,
    response: Response,
    name: ServiceName,
    reason: Annotated[str, Query(min_length=1, max_length=500)] = "it is needed no more",
    by: Annotated[str, Query(max_length=200)] = "",
) -> Operation:
    """Stop all copies and end the service."""
    move = ServiceMove(reason=reason, by=by)
    await lifecycles.update(platform, _workflow(name), "delete", move)
    return await answer(platform, response, _workflow(name))


async def _asked(
    platform: Platform, name: str, update: str, argument: ServiceMove
) -> ServiceDocument:
    try:
        await lifecycles.update(platform, _workflow(name), update, argument)
    except NotFound:
        await run_in_threadpool(_found, platform, name)  # says it in its own words
        raise
    return await run_in_threadpool(_found, platform, name)


def _found(platform: Platform, name: str) -> ServiceDocument:
    with platform.store.read() as session:
        return service_document(session, services.get(session, name))


def _workflow(name: str) -> str:
    return f"service/{name}"

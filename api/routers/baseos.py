"""BaseOS: builds, plans and releases."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Response
from starlette.concurrency import run_in_threadpool
from temporalio.client import WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from ulid import ULID

from api import lifecycles
from api.deps import CursorDep, LimitQuery, Platform, PlatformDep, WaitQuery, next_cursor
from api.documents import release_document
from api.examples import OS_SPEC
from api.lifecycles import Start
from api.releases import FREE_STATES, check_spec, find_release
from api.starts import answer, start_and_answer
from fleetwide.baseos.versions import next_version
from fleetwide.errors import Conflict
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.documents import Operation, OperationStatus, Page, ReleaseDocument
from fleetwide.models.os_releases import ReleaseState
from fleetwide.store import releases
from fleetwide.temporal import search_attributes as attributes

POLL_SECONDS = 0.3
MAX_VERSION_TRIES = 20
UNFINISHED = FREE_STATES | {ReleaseState.BUILDING}
"""With a failed build in the books its workflow is about to end, and will say why."""

router = APIRouter(prefix="/v1/os", tags=["baseos"])

SpecBody = Annotated[OSImageSpec, Body(openapi_examples=OS_SPEC)]


@router.post("/builds", status_code=202)
async def build(
    platform: PlatformDep, response: Response, spec: SpecBody, wait: WaitQuery = 0
) -> Operation:
    """Build an OS release. Done means: it is on the candidate channel, and may be promoted.

    When nothing has changed since an earlier release, nothing is built: the operation completes
    with that release as its result, and its `outcome` is `noChange`.
    """
    check_spec(spec)
    handle = await _start(platform, spec)
    await _wait_for_candidate(platform, handle, wait)
    return await answer(platform, response, handle.id)


async def _start(platform: Platform, spec: OSImageSpec) -> WorkflowHandle[object, object]:
    """Start under the asked version, or under the first free one of today."""
    if spec.version is not None:
        return await lifecycles.start(platform, await run_in_threadpool(_claim, platform, spec))
    taken = await run_in_threadpool(_versions, platform, spec.name)
    for _ in range(MAX_VERSION_TRIES):
        version = next_version(taken, datetime.now(UTC).date())
        chosen = spec.model_copy(update={"version": version})
        try:
            return await lifecycles.start(platform, _start_of(chosen, version))
        except Conflict:
            taken.append(version)
    raise Conflict(
        f"no free version of {spec.name} was found for today", hint="give a version of your own"
    )


def _versions(platform: Platform, name: str) -> list[str]:
    with platform.store.read() as session:
        return releases.versions(session, name)


def _claim(platform: Platform, spec: OSImageSpec) -> Start:
    assert spec.version is not None
    with platform.store.read() as session:
        row = releases.find(session, spec.name, spec.version)
    if row is not None and row.state not in FREE_STATES:
        raise Conflict(
            f"OS release {spec.name} {spec.version} exists already ({row.state}), "
            f"made by {row.workflow_id}",
            hint="give another version, or none to get the next free one",
        )
    return _start_of(spec, spec.version)


def _start_of(spec: OSImageSpec, version: str) -> Start:
    return Start(
        workflow_type="OSImageBuild",
        workflow_id=f"os/{spec.name}/{version}",
        spec=spec,
        summary=f"{spec.name} {version}: {spec.distribution} {spec.suite} {spec.architecture}",
        # The books guard versions; a build that found no change leaves its id but no release.
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        unique=True,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.name,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "baseos",
                attributes.OS_RELEASE: f"{spec.name}:{version}",
            }
        ),
    )


async def _wait_for_candidate(
    platform: Platform, handle: WorkflowHandle[object, object], seconds: float
) -> None:
    """The workflow stays open for promotion, so the release's row tells when the build is done."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if await run_in_threadpool(_is_built, platform, handle):
            return
        operation = await lifecycles.operation(platform, handle.id)
        if operation.status is not OperationStatus.RUNNING:
            return
        await asyncio.sleep(POLL_SECONDS)


def _is_built(platform: Platform, handle: WorkflowHandle[object, object]) -> bool:
    with platform.store.read() as session:
        row = releases.of_run(session, handle.id, handle.first_execution_run_id or "")
    return row is not None and row.state not in UNFINISHED


@router.post("/plans", status_code=202)
async def plan(
    platform: PlatformDep, response: Response, spec: SpecBody, wait: WaitQuery = 0
) -> Operation:
    """What a build would do now: sources, lock, changes, and whether it would find no change.

    Nothing is built. The operation's result is a `PlanPreview`.
    """
    check_spec(spec)
    start = Start(
        workflow_type="OSImagePlan",
        workflow_id=f"os-plan/{spec.name}/{str(ULID()).lower()}",
        spec=spec,
        summary=f"what a build of {spec.name} would do",
        attributes=attributes.pairs(
            {
                attributes.APP: spec.name,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "baseos",
            }
        ),
    )
    return await start_and_answer(platform, response, start, wait)


@router.get("/releases")
def list_releases(
    platform: PlatformDep,
    cursor: CursorDep,
    name: str | None = None,
    limit: LimitQuery = 50,
) -> Page[ReleaseDocument]:
    """Releases, newest first."""
    with platform.store.read() as session:
        rows = releases.listing(session, name=name, before=cursor, limit=limit)
        items = [release_document(platform.settings, session, row) for row in rows]
    return Page(items=items, next=next_cursor(items, limit, rows[-1].id if rows else None))


@router.get("/releases/{name}/{pointer}")
def get_release(platform: PlatformDep, name: str, pointer: str) -> ReleaseDocument:
    """One release by its version, a channel or its digest; also one that is still building."""
    return find_release(platform, name, pointer)

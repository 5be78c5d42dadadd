"""Builds of the control workers: which get runs, which may be stopped."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from starlette.concurrency import run_in_threadpool

from api.deps import Platform, PlatformDep
from api.examples import PROMOTION, VERSION_MOVE
from fleetwide.fleet import worker_versions
from fleetwide.models.texts import Line, Prose
from fleetwide.models.worker_versions import (
    MAX_BY,
    MAX_REASON,
    Promotion,
    VersionMove,
    WorkerVersion,
    WorkerVersions,
)
from fleetwide.settings import BUILD_ID_PATTERN
from fleetwide.store import events
from fleetwide.temporal.worker_versions import Look, WorkerDeployment

router = APIRouter(prefix="/v1/worker-versions", tags=["operations"])

BuildId = Annotated[
    str,
    Path(pattern=BUILD_ID_PATTERN, description="a build id, or unversioned", examples=["1.4.0"]),
]
Move = Annotated[VersionMove, Body(openapi_examples=VERSION_MOVE)]


async def _deployment(platform: Platform) -> WorkerDeployment:
    return WorkerDeployment(await platform.temporal.client(), platform.settings.deployment)


@router.get("")
async def list_worker_versions(platform: PlatformDep) -> WorkerVersions:
    """All builds: what each gets to do, what runs on it, who polls for it, what is wrong."""
    return (await (await _deployment(platform)).look()).versions


@router.get("/{build_id}")
async def get_worker_version(platform: PlatformDep, build_id: BuildId) -> WorkerVersion:
    """One build."""
    look = await (await _deployment(platform)).look()
    return worker_versions.require(look.versions, build_id)


@router.post("/{build_id}/promote")
async def promote_worker_version(
    platform: PlatformDep,
    build_id: BuildId,
    request: Annotated[Promotion, Body(openapi_examples=PROMOTION)],
) -> WorkerVersions:
    """Give the build all new runs and all that are not pinned, or ``percent`` of them."""
    deployment = await _deployment(platform)
    look = await deployment.look()
    worker_versions.require_promotable(look.versions, build_id, request.percent)
    if request.percent is None:
        await deployment.make_current(build_id, look.token, request.by)
        said = f"build {build_id} is current"
    else:
        await deployment.ramp(build_id, request.percent, look.token, request.by)
        said = f"build {build_id} gets {request.percent:g} percent"
    await _tell(platform, build_id, "promoted", said, request)
    return (await deployment.look()).versions


@router.post("/rollback")
async def roll_back_worker_versions(platform: PlatformDep, move: Move) -> WorkerVersions:
    """End the ramp; where there is none, go back to the build that was current before."""
    deployment = await _deployment(platform)
    look = await deployment.look()
    target = worker_versions.rollback_target(look.versions)
    await _roll_back(deployment, look, target, move.by)
    build_id = look.versions.current if target is None else target.build_id
    said = "the ramp has ended" if target is None else f"build {build_id} is current again"
    await _tell(platform, build_id, "rolledBack", said, move)
    return (await deployment.look()).versions


@router.delete("/{build_id}", status_code=204)
async def delete_worker_version(
    platform: PlatformDep,
    build_id: BuildId,
    reason: Annotated[Prose, Query(min_length=1, max_length=MAX_REASON)],
    by: Annotated[Line, Query(max_length=MAX_BY)] = "",
) -> None:
    """Forget a build that is drained and that no worker polls for."""
    move = VersionMove(by=by, reason=reason)
    deployment = await _deployment(platform)
    worker_versions.require_deletable((await deployment.look()).versions, build_id)
    await deployment.delete(build_id, move.by)
    await _tell(platform, build_id, "deleted", f"build {build_id} is forgotten", move)


async def _roll_back(
    deployment: WorkerDeployment, look: Look, target: WorkerVersion | None, by: str
) -> None:
    if target is None:
        await deployment.ramp("", 0, look.token, by)
    else:
        await deployment.make_current(target.build_id, look.token, by)


async def _tell(
    platform: Platform, build_id: str, kind: str, message: str, move: VersionMove
) -> None:
    """Write down who wanted it, and why."""

    def write() -> None:
        data = {"by": move.by, "reason": move.reason}
        with platform.store.write() as session:
            subject, now = f"worker-version/{build_id}", datetime.now(UTC)
            events.append(session, subject, kind, message, at=now, data=data)

    await run_in_threadpool(write)

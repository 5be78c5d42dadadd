"""BaseOS: what people decide about a release: promote, hold, revoke, retire, cancel."""

from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api import lifecycles
from api.deps import Platform, PlatformDep
from api.examples import KILL, PROMOTE, STAND
from api.releases import FREE_STATES, find_release
from api.starts import answer
from fleetwide.errors import Conflict, NotFound
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import Operation, OperationStatus, ReleaseDocument
from fleetwide.models.os_releases import PromoteRequest, ReleaseState, StandRequest
from fleetwide.store import channels, releases

GONE = FREE_STATES | {ReleaseState.REVOKED, ReleaseState.RETIRED}

router = APIRouter(prefix="/v1/os/releases", tags=["baseos"])

StandBody = Annotated[StandRequest, Body(openapi_examples=STAND)]


@router.post("/{name}/{pointer}/promote")
async def promote(
    platform: PlatformDep,
    name: str,
    pointer: str,
    request: Annotated[PromoteRequest, Body(openapi_examples=PROMOTE)],
) -> ReleaseDocument:
    """Let the stable channel point at the release; promoting `previous` is the rollback."""
    return await _change(platform, (name, pointer), "promote", request)


@router.post("/{name}/{pointer}/hold")
async def hold(
    platform: PlatformDep, name: str, pointer: str, request: StandBody
) -> ReleaseDocument:
    """Keep the release from promotion until somebody lets it go."""
    return await _change(platform, (name, pointer), "hold", request)


@router.post("/{name}/{pointer}/unhold")
async def unhold(
    platform: PlatformDep, name: str, pointer: str, request: StandBody
) -> ReleaseDocument:
    """Let a held release be promoted again."""
    return await _change(platform, (name, pointer), "unhold", request)


@router.post("/{name}/{pointer}/revoke")
async def revoke(
    platform: PlatformDep, name: str, pointer: str, request: StandBody
) -> ReleaseDocument:
    """Nobody may use the release any more: its channels and its AMIs go."""
    return await _change(platform, (name, pointer), "revoke", request)


@router.post("/{name}/{pointer}/retire")
async def retire(
    platform: PlatformDep, name: str, pointer: str, request: StandBody
) -> ReleaseDocument:
    """Remove a release that is not needed: its AMIs and its stored disk go."""
    return await _change(platform, (name, pointer), "retire", request)


async def _change(
    platform: Platform, which: tuple[str, str], update: str, request: BaseModel
) -> ReleaseDocument:
    release = await run_in_threadpool(find_release, platform, *which)
    await _must_be_open(platform, release)
    await lifecycles.update(platform, release.workflow_id, update, request)
    return await run_in_threadpool(find_release, platform, release.name, release.version)


async def _must_be_open(platform: Platform, release: ReleaseDocument) -> None:
    named = f"OS release {release.name} {release.version}"
    if release.state in GONE:
        because = f": {release.reason}" if release.reason else ""
        raise Conflict(
            f"{named} is {release.state}{because}", hint=f"fleetwide os list --name {release.name}"
        )
    if not await _is_open(platform, release.workflow_id):
        raise Conflict(
            f"{named} cannot be changed any more: its workflow {release.workflow_id} is closed; "
            "build it again",
            hint="fleetwide os build -f spec.yaml --force",
        )


async def _is_open(platform: Platform, workflow_id: str) -> bool:
    try:
        operation = await lifecycles.operation(platform, workflow_id)
    except NotFound:
        return False
    return operation.status is OperationStatus.RUNNING


@router.post("/{name}/{pointer}/cancel", status_code=202)
async def cancel(
    platform: PlatformDep,
    response: Response,
    name: str,
    pointer: str,
    request: Annotated[KillRequest, Body(openapi_examples=KILL)],
) -> Operation:
    """Stop a build, or withdraw a candidate that was never promoted."""
    workflow_id = await run_in_threadpool(_cancellable, platform, name, pointer)
    await lifecycles.cancel(platform, workflow_id, request.reason)
    return await answer(platform, response, workflow_id)


def _cancellable(platform: Platform, name: str, pointer: str) -> str:
    """The workflow to cancel; people may rely on a release that was promoted once."""
    with platform.store.read() as session:
        channel = channels.get(session, name, pointer)
        row = releases.find(session, name, channel.version if channel else pointer)
    if row is None:
        return f"os/{name}/{pointer}"  # its first step has not claimed the version yet
    if row.promoted_at is not None or row.state == ReleaseState.HELD:
        why = "held" if row.promoted_at is None else "in people's hands since it was promoted"
        raise Conflict(
            f"OS release {name} {row.version} cannot be cancelled: it is {why}",
            hint=f"fleetwide os revoke {name} {row.version} --reason 'no longer wanted'",
        )
    return row.workflow_id

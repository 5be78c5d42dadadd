"""What people want of hosts, and the valve on what is given up as lost."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool

from activities.fleet import valve_rules
from api import lifecycles
from api.deps import PlatformDep
from api.examples import HOST_DRAIN, HOST_MOVE
from fleetwide.errors import Conflict
from fleetwide.models.base import Record
from fleetwide.models.defragmentation_documents import DefragmentationDocument
from fleetwide.models.host_moves import (
    DrainRequest,
    HostMove,
    HostRemoval,
    HostStatus,
    ValveState,
)
from fleetwide.store import clock, defragmentation, standings

router = APIRouter(prefix="/v1", tags=["containers"])

MOST_REASON = 500
Move = Annotated[HostMove, Body(openapi_examples=HOST_MOVE)]


async def _moved(platform: PlatformDep, host_id: str, update: str, move: Any) -> HostStatus:
    told = await lifecycles.update(platform, f"host/{host_id}", update, move)
    return HostStatus.model_validate(told.model_dump() if isinstance(told, Record) else told)


@router.post("/hosts/{host_id}/cordon")
async def cordon_host(platform: PlatformDep, host_id: str, move: Move) -> HostStatus:
    """Let the host take no new work; what runs goes on."""
    return await _moved(platform, host_id, "cordon", move)


@router.post("/hosts/{host_id}/uncordon")
async def uncordon_host(platform: PlatformDep, host_id: str, move: Move) -> HostStatus:
    """Let the host take work again; ends a drain."""
    return await _moved(platform, host_id, "uncordon", move)


@router.post("/hosts/{host_id}/phase-out")
async def phase_out_host(platform: PlatformDep, host_id: str, move: Move) -> HostStatus:
    """Let the host take work only where no active one does."""
    return await _moved(platform, host_id, "phase_out", move)


@router.post("/hosts/{host_id}/drain", status_code=202)
async def drain_host(
    platform: PlatformDep,
    host_id: str,
    request: Annotated[DrainRequest, Body(openapi_examples=HOST_DRAIN)],
) -> HostStatus:
    """Let the host take no new work, and have its tasks end and run elsewhere.

    Answers when the drain has begun; the host is Removable once it is empty.
    """
    return await _moved(platform, host_id, "drain", request)


@router.post("/hosts/{host_id}/remove")
async def remove_host(platform: PlatformDep, host_id: str, request: HostRemoval) -> HostStatus:
    """Take an empty host out of the fleet; with ``force`` a silent one, too."""
    return await _moved(platform, host_id, "remove", request)


@router.get("/fleet/defragmentation")
def get_defragmentation(platform: PlatformDep) -> DefragmentationDocument:
    """The next round of defragmentation: which host it would empty, what for, and what stays."""
    rules = defragmentation.rules_of(platform.settings)
    with platform.store.read() as session:
        seen = defragmentation.next_round(session, rules, now=clock.now(session))
        return defragmentation.document(session, seen, rules)


@router.post("/fleet/defragmentation", status_code=202)
async def begin_defragmentation(platform: PlatformDep, move: Move) -> DefragmentationDocument:
    """Begin a round now, whether they begin by themselves or not; answers what is done.

    409 where there is nothing to do: the sentence of the plan says why.
    """
    host_id, request = await run_in_threadpool(_round, platform)
    who = f" ({move.by}: {move.reason})" if move.by else f" ({move.reason})"
    reason = (request.reason + who)[:MOST_REASON]
    asked = request.model_copy(update={"reason": reason})
    await lifecycles.update(platform, f"host/{host_id}", "drain", asked)
    return await run_in_threadpool(get_defragmentation, platform)


def _round(platform: PlatformDep) -> tuple[str, DrainRequest]:
    rules = defragmentation.rules_of(platform.settings)
    with platform.store.read() as session:
        seen = defragmentation.next_round(session, rules, now=clock.now(session))
        request = defragmentation.request(session, seen, rules)
        if seen.freed is None or request is None:
            told = defragmentation.document(session, seen, rules)
            raise Conflict(told.sentence, hint="fleetwide fleet defragment --plan")
        return seen.freed.emptying.host_id, request


@router.get("/fleet/valve")
def get_valve(platform: PlatformDep) -> ValveState:
    """Whether decisions that something is lost are held back, and because of which hosts."""
    with platform.store.read() as session:
        return standings.valve(session, valve_rules(platform.settings), now=datetime.now(UTC))


@router.post("/fleet/valve/release")
def release_valve(platform: PlatformDep, move: Move) -> ValveState:
    """Say that the hosts that are silent now may be given up."""
    with platform.store.write() as session:
        now = clock.now(session)
        standings.release_valve(session, move.by, move.reason, now=now)
        return standings.note_valve(session, valve_rules(platform.settings), now=now)

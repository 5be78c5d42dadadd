"""Host pools: machines that come and go with the work."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from starlette.concurrency import run_in_threadpool
from temporalio.common import WorkflowIDReusePolicy

from api import lifecycles
from api.deps import Platform, PlatformDep
from api.examples import POOL
from api.lifecycles import Start
from api.links import operation_page
from api.starts import answer, start_and_answer
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.documents import Operation, Page
from fleetwide.models.pool_documents import (
    PoolDocument,
    PoolMachineDocument,
    PoolRotationDocument,
)
from fleetwide.models.pools import (
    END_SENTENCE,
    HostPoolSpec,
    PoolEnd,
    PoolMove,
    PoolScale,
)
from fleetwide.store import pools
from fleetwide.store.pool_tables import HostPoolRow
from fleetwide.store.pools import ListedMachine

router = APIRouter(prefix="/v1/pools", tags=["containers"])

MOST_REASONS = 3
MOST_NAMED = 5
PoolName = Annotated[str, Path(pattern=NAME_PATTERN)]


@router.post("", status_code=202)
async def create_pool(
    platform: PlatformDep,
    response: Response,
    spec: Annotated[HostPoolSpec, Body(openapi_examples=POOL)],
) -> Operation:
    """Start a pool. It lives until it is deleted; one of the same name must not exist."""
    start = Start(
        workflow_type="HostPool",
        workflow_id=_workflow(spec.name),
        spec=spec,
        summary=f"host pool {spec.name}: {spec.min} to {spec.max} machines of {spec.provider}",
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        unique=True,
    )
    return await start_and_answer(platform, response, start, 0)


@router.get("")
def list_pools(platform: PlatformDep) -> Page[PoolDocument]:
    """All pools by name, without their machines."""
    with platform.store.read() as session:
        found = []
        for row in pools.listing(session):
            document = _document(row, pools.machines_of(session, row.name, ended_too=0))
            found.append(document.model_copy(update={"machines": []}))
    return Page(items=found)


@router.get("/{name}")
def get_pool(platform: PlatformDep, name: PoolName) -> PoolDocument:
    """One pool, with its machines and the last ones that ended."""
    return _found(platform, name)


@router.post("/{name}/scale")
async def scale_pool(platform: PlatformDep, name: PoolName, change: PoolScale) -> PoolDocument:
    """Change how many machines there are; what is not given stays."""
    return await _asked(platform, name, "scale", change)


@router.post("/{name}/refresh")
async def refresh_pool(platform: PlatformDep, name: PoolName, move: PoolMove) -> PoolDocument:
    """Replace the machines that were started from an older image, one after the other."""
    return await _asked(platform, name, "refresh", move)


@router.post("/{name}/delete", status_code=202)
async def delete_pool(
    platform: PlatformDep,
    response: Response,
    name: PoolName,
    move: PoolMove,
) -> Operation:
    """Empty its hosts, end its machines and end the pool."""
    await lifecycles.update(platform, _workflow(name), "delete", move)
    return await answer(platform, response, _workflow(name))


async def _asked(
    platform: Platform, name: str, update: str, argument: PoolScale | PoolMove
) -> PoolDocument:
    await lifecycles.update(platform, _workflow(name), update, argument)
    return await run_in_threadpool(_found, platform, name)


def _found(platform: Platform, name: str) -> PoolDocument:
    with platform.store.read() as session:
        return _document(pools.get(session, name), pools.machines_of(session, name))


def _workflow(name: str) -> str:
    return f"pool/{name}"


def _document(row: HostPoolRow, machines: list[ListedMachine]) -> PoolDocument:
    live = [one for one in machines if one.row.ended_at is None]
    page = f"/v1/pools/{row.name}"
    return PoolDocument(
        name=row.name,
        state=row.state,
        spec=HostPoolSpec.model_validate(row.spec),
        image=row.image,
        message=row.message,
        joined=sum(one.row.joined_at is not None for one in live),
        starting=sum(one.row.joined_at is None for one in live),
        draining=sum(one.row.draining for one in live),
        failures=row.failures,
        quiet_since=row.quiet_since,
        rotation=_rotation(live),
        created_at=row.created_at,
        updated_at=row.updated_at,
        machines=[_machine(one) for one in machines],
        links={"self": page, "operation": operation_page(row.workflow_id)},
    )


def _rotation(live: list[ListedMachine]) -> PoolRotationDocument | None:
    due = [one.row for one in live if one.row.rotates]
    leaving = [row.machine_id for row in due if row.draining]
    if not due:
        return None
    reasons = Counter(row.rotates for row in due).most_common()
    whys = "; ".join(f"{count} as {why}" for why, count in reasons[:MOST_REASONS])
    doing = f"emptying {', '.join(leaving[:MOST_NAMED])}" if leaving else "none is emptied yet"
    return PoolRotationDocument(
        due=len(due),
        leaving=len(leaving),
        sentence=f"{len(due)} of {len(live)} are to be replaced ({whys}): {doing}",
    )


def _machine(one: ListedMachine) -> PoolMachineDocument:
    row = one.row
    return PoolMachineDocument(
        machine_id=row.machine_id,
        type=row.type,
        zone=row.zone,
        image=row.image,
        host_state=one.host_state,
        draining=row.draining,
        rotates=row.rotates,
        launched_at=row.launched_at,
        joined_at=row.joined_at,
        ended_at=row.ended_at,
        end=row.end,
        end_sentence=END_SENTENCE[PoolEnd(row.end)] if row.end else "",
    )

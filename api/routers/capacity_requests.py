"""Requests for capacity of queues: asked for, decided by somebody else, given back in time."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api import lifecycles
from api.deps import LimitQuery, Platform, PlatformDep
from api.examples import CAPACITY_DECISION, CAPACITY_REQUEST
from api.lifecycles import Start, idempotent_id
from api.links import links_of
from api.queue_rights import Person, PersonDep
from api.routers.containers import IdempotencyKey
from api.starts import start_and_answer
from fleetwide.errors import NotFound
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.capacity_requests import (
    CapacityDecision,
    CapacityRequestDocument,
    CapacityRequestSpec,
    RequestState,
)
from fleetwide.models.documents import Operation, Page
from fleetwide.models.queues import QueuePath
from fleetwide.store import capacity_requests, queues
from fleetwide.store.queue_tables import CapacityRequestRow
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/capacity-requests", tags=["batch"])

RequestId = Annotated[str, Path(pattern=NAME_PATTERN)]
Decision = Annotated[CapacityDecision, Body(openapi_examples=CAPACITY_DECISION)]


@router.post("", status_code=202)
async def ask_for_capacity(
    platform: PlatformDep,
    person: PersonDep,
    response: Response,
    spec: Annotated[CapacityRequestSpec, Body(openapi_examples=CAPACITY_REQUEST)],
    idempotency_key: IdempotencyKey = None,
) -> Operation:
    """Ask for more of a queue; it is given once somebody else approves it."""
    await run_in_threadpool(_check_queues, platform, spec)
    asked = spec.model_copy(update={"by": person.name(spec.by)})
    request_id = idempotent_id(idempotency_key) if idempotency_key else str(ULID()).lower()
    start = Start(
        workflow_type="CapacityRequest",
        workflow_id=f"capacity-request/{request_id}",
        spec=asked,
        summary=f"{asked.queue}: more capacity for {asked.by}",
        compare=idempotency_key is not None,
        attributes=attributes.pairs(
            {
                attributes.OWNER: asked.by,
                attributes.PRODUCT: "batch",
                attributes.QUEUE: asked.queue,
                attributes.STATE: RequestState.PENDING,
            }
        ),
    )
    return await start_and_answer(platform, response, start, 0)


@router.get("")
def list_requests(
    platform: PlatformDep,
    state: RequestState | None = None,
    queue: Annotated[QueuePath | None, Query()] = None,
    cursor: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    limit: LimitQuery = 50,
) -> Page[CapacityRequestDocument]:
    """Requests, newest first."""
    with platform.store.read() as session:
        rows = capacity_requests.listing(
            session, state=state, queue=queue, before=cursor, limit=limit
        )
    following = rows[-1].id if len(rows) == limit else None
    return Page(items=[_document(platform, row) for row in rows], next=following)


@router.get("/{request_id}")
def get_request(platform: PlatformDep, request_id: RequestId) -> CapacityRequestDocument:
    """One request: where it stands, who decided, what it waits for."""
    with platform.store.read() as session:
        return _document(platform, capacity_requests.get(session, request_id))


@router.post("/{request_id}/approve")
async def approve_request(
    platform: PlatformDep, person: PersonDep, request_id: RequestId, decision: Decision
) -> CapacityRequestDocument:
    """Give the queue what is asked for. Not for who asked; where queues have owners, for them."""
    await run_in_threadpool(_require_owner, platform, person, request_id, decision)
    return await _told(platform, person, request_id, "approve", decision)


@router.post("/{request_id}/reject")
async def reject_request(
    platform: PlatformDep, person: PersonDep, request_id: RequestId, decision: Decision
) -> CapacityRequestDocument:
    """Let it be. Not for who asked; where queues have owners, for them."""
    await run_in_threadpool(_require_owner, platform, person, request_id, decision)
    return await _told(platform, person, request_id, "reject", decision)


@router.post("/{request_id}/withdraw")
async def withdraw_request(
    platform: PlatformDep, person: PersonDep, request_id: RequestId, decision: Decision
) -> CapacityRequestDocument:
    """For who asked, and for owners: ask for it no more, or give back what was lent now."""
    await run_in_threadpool(_require_part, platform, person, request_id, decision)
    return await _told(platform, person, request_id, "withdraw", decision)


def _check_queues(platform: Platform, spec: CapacityRequestSpec) -> None:
    with platform.store.read() as session:
        for path in (spec.queue, spec.from_queue):
            if path is not None:
                queues.get(session, path)


def _require_owner(
    platform: Platform, person: Person, request_id: str, decision: CapacityDecision
) -> None:
    """Owners above each queue whose capacity changes decide."""
    spec = _spec(platform, request_id)
    for path in (spec.queue, spec.from_queue):
        named = _owners_above(platform, path) if path is not None else []
        person.require(named, f"decide about capacity of queue {path}", decision.by)


def _require_part(
    platform: Platform, person: Person, request_id: str, decision: CapacityDecision
) -> None:
    spec = _spec(platform, request_id)
    named = [spec.by, *_owners_above(platform, spec.queue)]
    person.require(named, f"withdraw capacity request {request_id}", decision.by)


def _spec(platform: Platform, request_id: str) -> CapacityRequestSpec:
    with platform.store.read() as session:
        return capacity_requests.spec_of(capacity_requests.get(session, request_id))


def _owners_above(platform: Platform, path: str) -> list[str]:
    """None for a queue that was removed meanwhile: the tree refuses what cannot be."""
    with platform.store.read() as session:
        try:
            return queues.line(session, path).owners_above()
        except NotFound:
            return []


async def _told(
    platform: Platform, person: Person, request_id: str, what: str, decision: CapacityDecision
) -> CapacityRequestDocument:
    signed = decision.model_copy(update={"by": person.name(decision.by)})
    await lifecycles.update(platform, f"capacity-request/{request_id}", what, signed)
    return await run_in_threadpool(get_request, platform, request_id)


def _document(platform: Platform, row: CapacityRequestRow) -> CapacityRequestDocument:
    status = capacity_requests.status_of(row).model_dump(exclude={"request_id"})
    links = links_of(platform.settings, f"capacity-request/{row.id}", row.run_id)
    return CapacityRequestDocument(
        id=row.id,
        spec=capacity_requests.spec_of(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
        links={**links, "self": f"/v1/capacity-requests/{row.id}"},
        **status,
    )

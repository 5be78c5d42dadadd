"""Bakery: artifacts and bakes."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api import bakes as admission
from api import lifecycles
from api.answers import json_answer
from api.bake_logs import bake_log
from api.deps import CursorDep, LimitQuery, Platform, PlatformDep, WaitQuery
from api.documents import bake_document
from api.examples import BAKE_SPEC, KILL
from api.routers.containers import IdempotencyKey
from api.starts import answer, start_and_answer
from api.uploads import receive
from fleetwide.bakery.keys import differences
from fleetwide.errors import NotFound
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BakedImage, BakeState
from fleetwide.models.base import SHA256_PATTERN
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import (
    ArtifactDocument,
    BakeDocument,
    InputChange,
    Operation,
    Page,
    WhyDocument,
)
from fleetwide.store import bakes, images
from fleetwide.store.tables import BakeRow

router = APIRouter(prefix="/v1", tags=["bakery"])

BakeKey = Annotated[str, Path(pattern=SHA256_PATTERN)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)]


@router.post("/artifacts", status_code=201)
async def upload_artifact(
    platform: PlatformDep, request: Request, filename: Annotated[str, Query()]
) -> ArtifactDocument:
    """Store the request's body as a deployment artifact, under its SHA-256."""
    return await receive(platform, filename, request.stream())


@router.post("/bakes", status_code=202, response_model=Operation)
async def bake(
    platform: PlatformDep,
    response: Response,
    spec: Annotated[BakeSpec, Body(openapi_examples=BAKE_SPEC)],
    idempotency_key: IdempotencyKey = None,
    wait: WaitQuery = 0,
) -> Operation | Response:
    """Bake artifacts onto a base. What was baked before is answered with its image at once."""
    admitted = await to_thread.run_sync(
        admission.admit, platform, spec, limiter=platform.admissions
    )
    if idempotency_key is not None:
        known = await run_in_threadpool(admission.with_token, platform, admitted, idempotency_key)
        if known != admission.start_of(admitted).workflow_id:
            return await answer(platform, response, known)
    if admitted.image is not None:
        return json_answer(admission.finished(platform.settings, admitted.image))
    return await start_and_answer(platform, response, admission.start_of(admitted), wait)


@router.get("/bakes")
def list_bakes(
    platform: PlatformDep,
    cursor: CursorDep,
    name: str | None = None,
    state: BakeState | None = None,
    limit: LimitQuery = 50,
) -> Page[BakeDocument]:
    """Runs of bakes, newest first."""
    with platform.store.read() as session:
        rows = bakes.listing(session, name=name, state=state, before_id=cursor, limit=limit)
        items = [bake_document(platform.settings, row) for row in rows]
    return Page(items=items, next=str(rows[-1].id) if len(rows) == limit else None)


@router.get("/bakes/{key}", response_model=Operation)
async def get_bake(platform: PlatformDep, key: BakeKey) -> Operation | Response:
    """A bake by its key: running, failed, or with its image."""
    image, row = await run_in_threadpool(_find, platform, key)
    if image is not None and (row is None or row.state in _SETTLED):
        return json_answer(admission.finished(platform.settings, image))
    workflow_id = row.workflow_id if row else f"bake/{key}"
    return await lifecycles.operation(platform, workflow_id)


# A key that was baked, and no newer run of it is at work or failed.
_SETTLED = frozenset({BakeState.AVAILABLE, BakeState.CACHED})


def _find(platform: Platform, key: str) -> tuple[BakedImage | None, BakeRow | None]:
    with platform.store.read() as session:
        row = bakes.find(session, key)
        return images.by_key(session, row.bake_key if row else key), row


@router.get("/bakes/{key}/status")
def get_status(platform: PlatformDep, key: BakeKey) -> BakeDocument:
    """The newest run of a bake: its stages with their times, and why it failed."""
    return bake_document(platform.settings, _must_find(platform, key))


@router.get("/bakes/{key}/why")
def why(platform: PlatformDep, key: BakeKey) -> WhyDocument:
    """Which inputs of the key differ from the application's bake before."""
    row = _must_find(platform, key)
    with platform.store.read() as session:
        last = bakes.before(session, row)
    changed = differences(last.inputs, row.inputs) if last else []
    return WhyDocument(
        bake_key=row.bake_key,
        before=last.bake_key if last else None,
        changes=[InputChange(input=name, before=old, after=new) for name, old, new in changed],
    )


@router.get("/bakes/{key}/logs")
async def get_logs(
    platform: PlatformDep,
    key: BakeKey,
    *,
    follow: bool = False,
    last_event_id: LastEventId = None,
) -> Response:
    """The bake's log, as text or, with ``follow``, as server-sent events to its end."""
    row = await run_in_threadpool(_must_find, platform, key)
    return await bake_log(platform, row.run_id, follow=follow, last_id=last_event_id)


def _must_find(platform: Platform, key: str) -> BakeRow:
    with platform.store.read() as session:
        row = bakes.find(session, key)
    if row is None:
        raise NotFound(f"there is no bake {key}", hint="fleetwide bake list")
    return row


@router.post("/bakes/{key}/cancel", status_code=202)
async def cancel_bake(
    platform: PlatformDep,
    response: Response,
    key: BakeKey,
    request: Annotated[KillRequest, Body(openapi_examples=KILL)],
) -> Operation:
    """Stop a bake; nothing half-made is left in the registry."""
    _, row = await run_in_threadpool(_find, platform, key)
    workflow_id = row.workflow_id if row else f"bake/{key}"
    await lifecycles.cancel(platform, workflow_id, request.reason)
    return await answer(platform, response, workflow_id)

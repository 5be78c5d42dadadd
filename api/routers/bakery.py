"""Bakery: artifacts, bakes and baked images."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from temporalio.common import WorkflowIDReusePolicy

from api import lifecycles
from api.deps import LimitQuery, Platform, PlatformDep, WaitQuery
from api.documents import image_document
from api.examples import BAKE_SPEC, KILL
from api.lifecycles import Start
from api.starts import answer, start_and_answer
from api.uploads import receive
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.base import SHA256_PATTERN
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import (
    ArtifactDocument,
    ImageDocument,
    Operation,
    OperationStatus,
    Page,
)
from fleetwide.store import bakes, images
from fleetwide.store.tables import ImageRow
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1", tags=["bakery"])

BakeKey = Annotated[str, Path(pattern=SHA256_PATTERN)]


@router.post("/artifacts", status_code=201)
async def upload_artifact(
    platform: PlatformDep, request: Request, filename: Annotated[str, Query()]
) -> ArtifactDocument:
    """Store the request's body as a deployment artifact, under its SHA-256."""
    return await receive(platform, filename, request.stream())


@router.post("/bakes", status_code=202)
async def bake(
    platform: PlatformDep,
    response: Response,
    spec: Annotated[BakeSpec, Body(openapi_examples=BAKE_SPEC)],
    wait: WaitQuery = 0,
) -> Operation:
    """Bake artifacts onto a base. What was baked before is answered with its image at once."""
    key, known = await run_in_threadpool(_admit, platform, spec)
    if known is not None:
        response.status_code = 200
        return _finished(known)
    return await start_and_answer(platform, response, _start_of(spec, key), wait)


def _admit(platform: Platform, spec: BakeSpec) -> tuple[str, ImageDocument | None]:
    """The bake key, once base and artifacts are known to exist, and the image if it is there."""
    with platform.store.read() as session:
        resolved = bakes.resolve(session, spec)
    return resolved.bake_key, _find(platform, resolved.bake_key)


def _find(platform: Platform, key: str) -> ImageDocument | None:
    with platform.store.read() as session:
        row = session.get(ImageRow, key)
        return image_document(platform.settings, row) if row else None


def _finished(image: ImageDocument) -> Operation:
    return Operation(
        id=image.bake_key,
        workflow_id=image.workflow_id,
        run_id="",
        workflow_type="Bake",
        status=OperationStatus.COMPLETED,
        summary=f"{image.name} {image.version} onto {image.base_name}:{image.base_version}",
        closed_at=image.created_at,
        result=image.model_dump(mode="json", exclude={"links", "owner"}),
        links=image.links,
    )


def _start_of(spec: BakeSpec, key: str) -> Start:
    return Start(
        workflow_type="Bake",
        workflow_id=f"bake/{key}",
        spec=spec,
        summary=f"{spec.name} {spec.version} onto {spec.base}",
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.name,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "bakery",
            }
        ),
    )


@router.get("/bakes/{key}")
async def get_bake(platform: PlatformDep, key: BakeKey) -> Operation:
    """A bake by its key: running, failed, or with its image."""
    known = await run_in_threadpool(_find, platform, key)
    return _finished(known) if known else await lifecycles.operation(platform, f"bake/{key}")


@router.post("/bakes/{key}/cancel", status_code=202)
async def cancel_bake(
    platform: PlatformDep,
    response: Response,
    key: BakeKey,
    request: Annotated[KillRequest, Body(openapi_examples=KILL)],
) -> Operation:
    """Stop a bake; nothing half-made is left in the registry."""
    await lifecycles.cancel(platform, f"bake/{key}", request.reason)
    return await answer(platform, response, f"bake/{key}")


@router.get("/images")
def list_images(
    platform: PlatformDep,
    name: str | None = None,
    base_digest: str | None = None,
    cursor: Annotated[datetime | None, Query(description="next of the page before")] = None,
    limit: LimitQuery = 50,
) -> Page[ImageDocument]:
    """Baked images, newest first; ``base_digest`` finds all that stand on one OS release."""
    if cursor is not None and cursor.tzinfo is None:
        raise InvalidInput.for_field("cursor", "must be the next of an earlier page")
    with platform.store.read() as session:
        rows = images.listing(
            session, name=name, base_digest=base_digest, before=cursor, limit=limit
        )
        items = [image_document(platform.settings, row) for row in rows]
    full = len(rows) == limit
    return Page(items=items, next=rows[-1].created_at.isoformat() if full else None)


@router.get("/images/{name}/{version}")
def get_image(platform: PlatformDep, name: str, version: str) -> ImageDocument:
    """The newest image of that name and version."""
    with platform.store.read() as session:
        for row in images.listing(session, name=name, limit=200):
            if version in (row.version, row.digest):
                return image_document(platform.settings, row)
    raise NotFound(
        f"there is no image {name} {version}", hint=f"fleetwide image list --name {name}"
    )

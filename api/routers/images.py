"""Bakery: baked images, and moving them to another OS release."""

from datetime import datetime
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Query, Response
from starlette.concurrency import run_in_threadpool

from api import bakes as admission
from api.answers import json_answer
from api.deps import LimitQuery, Platform, PlatformDep, WaitQuery
from api.documents import image_document
from api.examples import REBASE
from api.starts import start_and_answer
from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.bakery import BakeSpec, RebaseRequest
from fleetwide.models.documents import ImageDocument, Operation, Page
from fleetwide.store import images
from fleetwide.store.tables import ImageRow

router = APIRouter(prefix="/v1/images", tags=["bakery"])

MAX_SEARCHED = 200


@router.get("")
def list_images(
    platform: PlatformDep,
    name: str | None = None,
    base_digest: str | None = None,
    cursor: Annotated[datetime | None, Query(description="next of the page before")] = None,
    limit: LimitQuery = 50,
) -> Page[ImageDocument]:
    """Baked images, newest first; ``base_digest`` finds all that stand on one OS release."""
    if cursor is not None and not (cursor.tzinfo and 1970 <= cursor.year < 9999):
        raise InvalidInput.for_field("cursor", "must be the next of an earlier page")
    with platform.store.read() as session:
        rows = images.listing(
            session, name=name, base_digest=base_digest, before=cursor, limit=limit
        )
        items = [image_document(platform.settings, row) for row in rows]
    full = len(rows) == limit
    return Page(items=items, next=rows[-1].created_at.isoformat() if full else None)


@router.get("/{name}/{version}", response_model=ImageDocument)
def get_image(platform: PlatformDep, name: str, version: str) -> Response:
    """The newest image of that name and version, or the one of that digest."""
    return json_answer(image_document(platform.settings, _find(platform, name, version)))


@router.post("/{name}/{version}/rebase", status_code=202, response_model=Operation)
async def rebase(
    platform: PlatformDep,
    response: Response,
    name: str,
    version: str,
    request: Annotated[RebaseRequest, Body(openapi_examples=REBASE)],
    wait: WaitQuery = 0,
) -> Operation | Response:
    """Move an image to another OS release.

    Where the image's own layer touches only the application's folders it is taken as it is;
    otherwise the image is baked again from its stored request.
    """
    spec = await run_in_threadpool(_moved, platform, name, version, request)
    admitted = await to_thread.run_sync(
        admission.admit, platform, spec, limiter=platform.admissions
    )
    if admitted.image is not None:
        return json_answer(admission.finished(platform.settings, admitted.image))
    return await start_and_answer(platform, response, admission.start_of(admitted), wait)


def _moved(platform: Platform, name: str, version: str, request: RebaseRequest) -> BakeSpec:
    row = _find(platform, name, version)
    if not row.spec:
        raise Conflict(
            f"the request of {name} {version} was not kept: it is older than this platform",
            hint="fleetwide bake create",
        )
    spec = BakeSpec.model_validate(row.spec)
    return spec.model_copy(update={"base": request.base, "rebake": False, "refresh": False})


def _find(platform: Platform, name: str, version: str) -> ImageRow:
    with platform.store.read() as session:
        if version.startswith("sha256:"):
            row = images.by_digest(session, version)
            if row is not None and row.name == name:
                return row
        for row in images.listing(session, name=name, limit=MAX_SEARCHED):
            if version == row.version:
                return row
    raise NotFound(
        f"there is no image {name} {version}", hint=f"fleetwide image list --name {name}"
    )

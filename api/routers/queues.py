"""Queues of batch: the tree of who may count on what."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api import lifecycles
from api.deps import CursorDep, LimitQuery, Platform, PlatformDep, next_cursor
from api.examples import QUEUE, QUEUE_CHANGES
from api.queue_rights import Person, PersonDep, require_changes
from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.base import Spec
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import Page
from fleetwide.models.queues import (
    DEFAULT_QUEUE,
    Hold,
    QueueChange,
    QueueChangeSet,
    QueueDocument,
    QueueEdit,
    QueueHistoryItem,
    QueueLeaving,
    QueuePath,
    QueuePlan,
    QueueSpec,
)
from fleetwide.models.texts import Line, Prose
from fleetwide.store import queue_changes, queue_views, queues
from fleetwide.store.queue_changes import Deed

router = APIRouter(prefix="/v1/queues", tags=["batch"])

Named = Annotated[QueuePath, Path()]
MAX_REASON = 500
CANCELS = 100
"""Jobs that one request cancels; whoever asks again goes on."""
IfMatch = Annotated[
    str | None, Header(description="the revision that the queue has to have", max_length=40)
]


class Removal(Spec):
    """Who wants a queue away, why, and what becomes of its work."""

    reason: Prose = Field(min_length=1, max_length=MAX_REASON)
    by: Line = Field(default="", max_length=200)
    revision: Annotated[int, Field(ge=1)] | None = None
    move_to: QueuePath | None = None
    """The queue where its open jobs go."""
    cancel_jobs: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.cancel_jobs and self.move_to is not None:
            raise ValueError("cancel_jobs and move_to cannot both be asked for")
        return self


@router.get("")
def list_queues(
    platform: PlatformDep, below: Annotated[QueuePath | None, Query()] = None
) -> Page[QueueDocument]:
    """The tree, each queue before those below it; with `below` only that one and what it holds."""
    with platform.store.read() as session:
        rows = queues.listing(session)
        if below is not None:
            queues.get(session, below)
            rows = [row for row in rows if queues.is_within(row.path, below)]
        return Page(items=queue_views.documents(session, rows))


@router.post("/plan")
def plan_changes(
    platform: PlatformDep,
    wanted: Annotated[QueueChangeSet, Body(openapi_examples=QUEUE_CHANGES)],
) -> QueuePlan:
    """What the same request to `/v1/queues/changes` would do now; nothing is written."""
    with platform.store.read() as session:
        return queue_views.plan(session, wanted.changes)


@router.post("/changes")
def change_queues(
    platform: PlatformDep,
    person: PersonDep,
    wanted: Annotated[QueueChangeSet, Body(openapi_examples=QUEUE_CHANGES)],
) -> Page[QueueDocument]:
    """Change several queues together, or none: a guarantee moves without a moment in between."""
    _apply(platform, person, wanted)
    with platform.store.read() as session:
        named = {edit.path for edit in wanted.changes}
        rows = [row for row in queues.listing(session) if row.path in named]
        return Page(items=queue_views.documents(session, rows))


@router.get("/{path:path}/history")
def queue_history(
    platform: PlatformDep, path: Named, cursor: CursorDep, limit: LimitQuery = 50
) -> Page[QueueHistoryItem]:
    """Who changed it, when and why, newest first; also of a queue that was removed."""
    with platform.store.read() as session:
        items = queue_changes.history(session, path, before=cursor, limit=limit)
        if not items and cursor is None:
            queues.get(session, path)
    return Page(items=items, next=next_cursor(items, limit, items[-1].id if items else None))


@router.get("/{path:path}")
def get_queue(platform: PlatformDep, response: Response, path: Named) -> QueueDocument:
    """One queue, with what it and all below it use now, and what it can count on."""
    return _found(platform, response, path)


@router.put("/{path:path}")
def put_queue(
    platform: PlatformDep,
    person: PersonDep,
    response: Response,
    path: Named,
    change: Annotated[QueueChange, Body(openapi_examples=QUEUE)],
    if_match: IfMatch = None,
) -> QueueDocument:
    """Make a queue, or change all of it.

    With `If-Match` or `revision` only if it still has that one (0: if it is not there).
    """
    revision = _revision(if_match) if if_match is not None else change.revision
    edit = QueueEdit(path=path, spec=change.spec, revision=revision)
    _apply(platform, person, QueueChangeSet(changes=[edit], by=change.by, reason=change.reason))
    return _found(platform, response, path)


@router.delete("/{path:path}", status_code=204, responses={202: {"model": QueueLeaving}})
async def delete_queue(
    platform: PlatformDep,
    person: PersonDep,
    path: Named,
    removal: Annotated[Removal, Query()],
) -> Response:
    """Remove a queue without work. With `move_to` its open jobs go there first.

    With `cancel_jobs` it takes no new ones and they are cancelled: 202 until the last has ended,
    then asking again removes it.
    """
    if removal.cancel_jobs:
        await run_in_threadpool(_drain, platform, person, path, removal)
        left = await _cancel_jobs(platform, path, removal.reason)
        if left:
            leaving = QueueLeaving(path=path, jobs=left)
            return JSONResponse(leaving.model_dump(mode="json"), status_code=202)
        removal = removal.model_copy(update={"revision": None})
    await run_in_threadpool(_remove, platform, person, path, removal)
    return Response(status_code=204)


def _apply(platform: Platform, person: Person, wanted: QueueChangeSet) -> None:
    with platform.store.write() as session:
        require_changes(session, person, wanted.changes, wanted.by)
        deed = _deed(person, wanted.by, wanted.reason)
        queue_changes.apply(session, wanted, deed, now=datetime.now(UTC))


def _remove(platform: Platform, person: Person, path: str, removal: Removal) -> None:
    with platform.store.write() as session:
        require_changes(session, person, [QueueEdit(path=path)], removal.by)
        deed = replace(
            _deed(person, removal.by, removal.reason),
            move_to=removal.move_to,
            late_to=None if removal.cancel_jobs else DEFAULT_QUEUE,
        )
        queue_changes.remove(session, path, removal.revision, deed, now=datetime.now(UTC))


def _drain(platform: Platform, person: Person, path: str, removal: Removal) -> None:
    """Let the queue take no more jobs, so that its last one is the last."""
    with platform.store.write() as session:
        row = queues.get(session, path)
        require_changes(session, person, [QueueEdit(path=path)], removal.by)
        queue_changes.refuse_needed(session, path)
        spec = queues.spec_of(row)
        drained = QueueSpec.model_validate({**dict(spec), "hold": Hold.DRAIN})
        edit = QueueEdit(path=path, spec=drained, revision=removal.revision)
        if spec.hold is not Hold.DRAIN:
            wanted = QueueChangeSet(changes=[edit], by=removal.by, reason=removal.reason)
            deed = _deed(person, removal.by, removal.reason)
            queue_changes.apply(session, wanted, deed, now=datetime.now(UTC))


async def _cancel_jobs(platform: Platform, path: str, reason: str) -> int:
    """Cancel some of the queue's open jobs; how many have not ended."""
    with platform.store.read() as session:
        open_ = queues.open_job_ids(session, path, limit=CANCELS)
    for workflow_id in open_:
        try:
            await lifecycles.update(platform, workflow_id, "cancel", KillRequest(reason=reason))
        except (Conflict, NotFound):
            continue  # it is ending already
    with platform.store.read() as session:
        return queues.open_jobs(session, path)


def _deed(person: Person, by: str, reason: str) -> Deed:
    return Deed(str(ULID()).lower(), person.name(by), reason)


def _found(platform: Platform, response: Response, path: str) -> QueueDocument:
    with platform.store.read() as session:
        [document] = queue_views.documents(session, [queues.get(session, path)])
    response.headers["ETag"] = f'"{document.revision}"'
    return document


def _revision(if_match: str) -> int:
    text = if_match.removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput.for_field("If-Match", "must be a revision", given=if_match)
    return int(text)

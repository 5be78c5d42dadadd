"""The one stream of everything that happened."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.deps import LimitQuery, Platform, PlatformDep
from api.documents import event_document
from api.streams import POLL_SECONDS, event, event_stream
from fleetwide.errors import InvalidInput
from fleetwide.models.documents import EventDocument, Page
from fleetwide.store import events

router = APIRouter(prefix="/v1/events", tags=["events"])

MAX_SEQ = 2**62
BATCH = 200


@router.get("", response_model=Page[EventDocument])
async def list_events(
    platform: PlatformDep,
    cursor: Annotated[int, Query(ge=0, le=MAX_SEQ, description="events after this number")] = 0,
    subject: Annotated[str | None, Query(description="a workflow id or host/<id>")] = None,
    limit: LimitQuery = 50,
    follow: bool = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Page[EventDocument] | Response:
    """Events after a cursor, oldest first; with ``follow`` as server-sent events without end."""
    if follow:
        after = _seq(last_event_id) if last_event_id else cursor
        return event_stream(_follow(platform, after, subject))
    items = await run_in_threadpool(_page, platform, cursor, subject, limit)
    return Page(items=items, next=str(items[-1].seq) if items else None)


def _seq(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidInput.for_field(
            "Last-Event-ID", "must be the id of an earlier event", given=text
        )
    return int(text)


def _page(platform: Platform, after: int, subject: str | None, limit: int) -> list[EventDocument]:
    with platform.store.read() as session:
        rows = events.after(session, after, subject=subject, limit=limit)
        return [event_document(row) for row in rows]


async def _follow(
    platform: Platform, after: int, subject: str | None
) -> AsyncIterator[ServerSentEvent]:
    while True:
        for item in await asyncio.to_thread(_page, platform, after, subject, BATCH):
            after = item.seq
            yield event(item.kind, item, str(item.seq))
        await asyncio.sleep(POLL_SECONDS)

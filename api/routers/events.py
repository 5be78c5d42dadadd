"""The one stream of everything that happened."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.deps import LimitQuery, Platform, PlatformDep
from api.documents import event_document
from api.rights import SeesTheRegistry
from api.streams import POLL_SECONDS, event, event_stream, sequence_of
from fleetwide.errors import CursorGone
from fleetwide.models.documents import EventDocument, Page
from fleetwide.store import events

router = APIRouter(prefix="/v1/events", tags=["events"])

MAX_SEQ = 2**62
BATCH = 200
REGISTRY = "registry"
"""What the registry's products begin with."""


@dataclass(frozen=True)
class _Asked:
    """Which events: those of one subject or of all, with or without the registry's."""

    subject: str | None
    sees_the_registry: bool


def _asked(
    sees_the_registry: SeesTheRegistry,
    subject: Annotated[str | None, Query(description="a workflow id or host/<id>")] = None,
) -> _Asked:
    return _Asked(subject, sees_the_registry)


_AskedDep = Annotated[_Asked, Depends(_asked)]


@router.get("", response_model=Page[EventDocument])
async def list_events(
    platform: PlatformDep,
    asked: _AskedDep,
    cursor: Annotated[int, Query(ge=0, le=MAX_SEQ, description="events after this number")] = 0,
    limit: LimitQuery = 50,
    follow: bool = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Page[EventDocument] | Response:
    """Events after a cursor, oldest first; with ``follow`` as server-sent events without end.

    Those of the registry are told to its administrators. 410 where events behind the cursor are
    deleted by now (``FLEETWIDE_EVENT_KEEP_DAYS``): begin anew without it.
    """
    if follow:
        after = sequence_of(last_event_id) if last_event_id else cursor
        await run_in_threadpool(_page, platform, after, asked, 1)  # a gap is told before all else
        return event_stream(_follow(platform, after, asked))
    items = await run_in_threadpool(_page, platform, cursor, asked, limit)
    return Page(items=items, next=str(items[-1].seq) if items else None)


def _page(platform: Platform, after: int, asked: _Asked, limit: int) -> list[EventDocument]:
    with platform.store.read() as session:
        rows = events.after(
            session,
            after,
            subject=asked.subject,
            without=None if asked.sees_the_registry else REGISTRY,
            limit=limit,
        )
        events.require(session, after)
        return [event_document(row) for row in rows]


async def _follow(platform: Platform, after: int, asked: _Asked) -> AsyncIterator[ServerSentEvent]:
    """Ends where a slow reader is overtaken: its next request is told of the gap."""
    while True:
        try:
            items = await asyncio.to_thread(_page, platform, after, asked, BATCH)
        except CursorGone:
            return
        for item in items:
            after = item.seq
            yield event(item.kind, item, str(item.seq))
        await asyncio.sleep(POLL_SECONDS)

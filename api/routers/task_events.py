"""The stream of container tasks: those that live now, then every change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Header, Response
from sse_starlette import ServerSentEvent

from api.deps import Platform, PlatformDep
from api.documents import task_change, task_document
from api.streams import POLL_SECONDS, event, event_stream, sequence_of
from api.task_filters import TaskFilterDep
from fleetwide.errors import CursorGone
from fleetwide.models.documents import StreamCursor, TaskChange, TaskDocument
from fleetwide.store import events, job_lists
from fleetwide.store.job_lists import Wanted

router = APIRouter(prefix="/v1/tasks", tags=["containers"])

BATCH = 200
KEEP_ALIVE_SECONDS = 5.0


@router.get("/events", response_class=Response)
async def task_events(
    platform: PlatformDep,
    asked: TaskFilterDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Server-sent events: ``task`` for each live task, ``snapshotEnd``, then each ``change``.

    ``snapshotEnd``, ``change`` and ``keepAlive`` carry their cursor as id: send it as Last-Event-ID
    to go on behind it without a snapshot. A change may be told that the snapshot shows already. 410
    where events behind the cursor are deleted by now: ask without it, for a new snapshot.
    """
    after = sequence_of(last_event_id) if last_event_id else None
    if after is not None:
        await asyncio.to_thread(_require, platform, after)
    return event_stream(_stream(platform, asked.wanted(), after))


async def _stream(
    platform: Platform, wanted: Wanted, after: int | None
) -> AsyncIterator[ServerSentEvent]:
    if after is None:
        # Before the first task is read: what changes meanwhile is told behind the snapshot.
        after = await asyncio.to_thread(_newest, platform)
        last = 0
        while page := await asyncio.to_thread(_live, platform, wanted, last):
            for _, document in page:
                yield event("task", document)
            last, _ = page[-1]
        yield event("snapshotEnd", StreamCursor(seq=after), str(after))
    spoken = monotonic()
    while True:
        try:
            changes, behind = await asyncio.to_thread(_changes, platform, wanted, after)
        except CursorGone:
            return  # a slow reader was overtaken: its next request is told of the gap
        for change in changes:
            yield event("change", change, str(change.seq))
        if changes:
            spoken = monotonic()
        elif monotonic() - spoken >= KEEP_ALIVE_SECONDS:
            spoken = monotonic()
            yield event("keepAlive", StreamCursor(seq=behind), str(behind))
        if behind == after:
            await asyncio.sleep(POLL_SECONDS)
        after = behind


def _newest(platform: Platform) -> int:
    with platform.store.read() as session:
        return events.newest(session)


def _require(platform: Platform, after: int) -> None:
    with platform.store.read() as session:
        events.require(session, after)


def _live(platform: Platform, wanted: Wanted, last: int) -> list[tuple[int, TaskDocument]]:
    with platform.store.read() as session:
        rows = job_lists.live(session, wanted, after=last, limit=BATCH)
        return [(row.id or 0, task_document(platform.settings, session, row)) for row in rows]


def _changes(platform: Platform, wanted: Wanted, after: int) -> tuple[list[TaskChange], int]:
    """Changes that are asked for, and the cursor behind all that was looked at."""
    with platform.store.read() as session:
        newest = events.newest(session)
        rows = events.of_product(session, after, "task", limit=BATCH)
        events.require(session, after)
        whole = replace(wanted, states=(), reasons=(), host=None)
        matching = job_lists.matching(session, whole, {row.subject for row in rows})
    told = [task_change(row) for row in rows if row.subject in matching]
    # A full page may be followed by more; behind one that is not, nothing else has happened.
    behind = rows[-1].seq if len(rows) == BATCH else newest or after
    return [change for change in told if _is_asked_for(change, wanted)], behind or after


def _is_asked_for(change: TaskChange, wanted: Wanted) -> bool:
    return (
        (not wanted.states or change.state in wanted.states)
        and (not wanted.reasons or change.reason in wanted.reasons)
        and (wanted.host is None or change.host_id == wanted.host)
    )

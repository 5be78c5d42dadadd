"""Logs of attempts, as text or as a stream that follows the task to its end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.deps import Platform
from api.documents import log_key
from api.streams import POLL_SECONDS, event, event_stream, whole_text
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.documents import LogChunk, LogEnd
from fleetwide.models.extra_containers import EXTRA_PATTERN, MAIN
from fleetwide.models.task_states import TaskState
from fleetwide.providers.attempt_logs import read_log, tail_lines
from fleetwide.store import jobs
from fleetwide.store.tables import AttemptRow, JobRow

MAX_TAIL = 10_000
MAX_TEXT_BYTES = 8 * 1024 * 1024
OFFSET_HEADER = "Fleetwide-Next-Offset"


class LogRequest(BaseModel):
    """Which part of a log, and how."""

    model_config = ConfigDict(extra="forbid")

    follow: bool = False
    tail: Annotated[int, Field(ge=1, le=MAX_TAIL)] | None = None
    attempt: Annotated[int, Field(ge=1, le=10_000)] | None = None
    offset: Annotated[int, Field(ge=0, le=2**40)] = 0
    container: Annotated[str, Field(pattern=EXTRA_PATTERN)] = MAIN
    """An extra container's name; unset, the main one's log."""


@dataclass(frozen=True)
class Source:
    """One attempt's log and whether it can still grow."""

    key: str
    attempt: int
    ended: bool
    """The attempt is over: its log is whole."""
    last: bool
    """The job is over too: no attempt follows."""
    end: LogEnd


@dataclass(frozen=True)
class Position:
    """How far a reader has come."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        attempt, colon, offset = text.partition(":")
        if not (colon and _is_number(attempt) and _is_number(offset)):
            raise InvalidInput.for_field(
                "Last-Event-ID", "must be the id of an earlier event", given=text
            )
        return cls(int(attempt), int(offset))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 13


async def log_response(
    platform: Platform, workflow_id: str, index: int, request: LogRequest, last_id: str | None
) -> Response:
    """The log in the form that the request asks for."""
    if request.follow:
        start = Position.parse(last_id) if last_id else None
        reader = LogReader(platform, workflow_id, index, request.container)
        return event_stream(_follow(reader, request, start))
    reader = LogReader(platform, workflow_id, index, request.container)
    return await run_in_threadpool(_text, reader, request)


class LogReader:
    """Reads the attempts of one task or child, from threads: one container's log of each."""

    def __init__(
        self, platform: Platform, workflow_id: str, index: int, container: str = MAIN
    ) -> None:
        self.platform = platform
        self.workflow_id = workflow_id
        self.index = index
        self.container = container

    def source(self, attempt: int | None) -> Source | None:
        """The attempt's log, or the newest one's; None while there is none.

        Raises ``NotFound`` when the task has no such container.
        """
        with self.platform.store.read() as session:
            job = jobs.find(session, self.workflow_id)
            if job is None or job.id is None:
                return None
            _check_container(job, self.container)
            rows = [row for row in jobs.attempts(session, job.id) if row.index == self.index]
        wanted = [row for row in rows if attempt in (None, row.attempt)]
        if not wanted:
            return None
        row = wanted[-1]
        ended = row.state == TaskState.FINISHED
        over = job.finished_at is not None and row.attempt == rows[-1].attempt
        key = log_key(job, row, self.container)
        return Source(key, row.attempt, ended, ended and over, _end_of(row))

    def chunk(self, key: str, offset: int, *, final: bool) -> tuple[str, int]:
        """Text behind ``offset``, and the offset behind the text."""
        data, _ = read_log(self.platform.objects, key, offset)
        text, taken = whole_text(data, final=False)
        if final and not taken and data:
            # Nothing follows that could complete the character.
            text, taken = whole_text(data, final=True)
        return text, offset + taken

    def tail(self, key: str, count: int) -> list[str]:
        return tail_lines(self.platform.objects, key, count)


def _check_container(job: JobRow, name: str) -> None:
    extras = job.spec.get("container", {}).get("extra_containers", [])
    known = [MAIN, *(extra["name"] for extra in extras)]
    if name not in known:
        raise NotFound(f"{job.workflow_id} has no container {name}; it has {', '.join(known)}")


def _end_of(row: AttemptRow) -> LogEnd:
    return LogEnd(state=row.state, reason=row.reason, exit_code=row.exit_code, message=row.message)


def _text(reader: LogReader, request: LogRequest) -> Response:
    source = reader.source(request.attempt)
    if source is None:
        if request.attempt is not None:
            raise NotFound(f"{reader.workflow_id} has no attempt {request.attempt}")
        return Response("", media_type="text/plain")
    if request.tail is not None:
        lines = reader.tail(source.key, request.tail)
        return Response("".join(f"{line}\n" for line in lines), media_type="text/plain")
    text, offset = _read_all(reader, source, request.offset)
    return Response(text, media_type="text/plain", headers={OFFSET_HEADER: str(offset)})


def _read_all(reader: LogReader, source: Source, offset: int) -> tuple[str, int]:
    pieces: list[str] = []
    first = offset
    while offset - first < MAX_TEXT_BYTES:
        text, behind = reader.chunk(source.key, offset, final=source.ended)
        if behind == offset:
            break
        pieces.append(text)
        offset = behind
    return "".join(pieces), offset


async def _follow(
    reader: LogReader, request: LogRequest, start: Position | None
) -> AsyncIterator[ServerSentEvent]:
    """Attempt after attempt, from ``start`` or the first to the end of the task."""
    attempt = start.attempt if start else request.attempt or 1
    offset = start.offset if start else request.offset
    while True:
        source = await asyncio.to_thread(reader.source, attempt)
        if source is None:
            await asyncio.sleep(POLL_SECONDS)
            continue
        while True:
            text, behind = await asyncio.to_thread(
                reader.chunk, source.key, offset, final=source.ended
            )
            if behind == offset:
                break
            offset = behind
            yield event("log", LogChunk(text=text, attempt=attempt), str(Position(attempt, offset)))
        if source.last or (source.ended and request.attempt is not None):
            yield event("end", source.end)
            return
        following = await asyncio.to_thread(reader.source, attempt + 1) if source.ended else None
        if following is not None:
            attempt, offset = attempt + 1, 0
        else:
            await asyncio.sleep(POLL_SECONDS)

"""The log of a bake: its parts one after another, as text or as a stream that follows it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Response
from sqlmodel import select
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.deps import Platform
from api.streams import POLL_SECONDS, event, event_stream, whole_text
from fleetwide.errors import InvalidInput
from fleetwide.models.bakes import ENDED, BakeState
from fleetwide.models.documents import BakeLogChunk, BakeLogEnd
from fleetwide.providers.attempt_logs import read_log
from fleetwide.providers.bake_logs import parts
from fleetwide.store.tables import BakeRow

MAX_TEXT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Position:
    """How far a reader has come: which part, and how many bytes of it."""

    part: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.part}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        part, colon, offset = text.partition(":")
        if not (colon and part.isdecimal() and offset.isdecimal() and len(text) < 30):
            raise InvalidInput.for_field(
                "Last-Event-ID", "must be the id of an earlier event", given=text
            )
        return cls(int(part), int(offset))


class BakeLogReader:
    """Reads the parts of one run's log, from threads."""

    def __init__(self, platform: Platform, run_id: str) -> None:
        self._platform = platform
        self._run_id = run_id

    def read(self, at: Position, *, final: bool) -> tuple[str, Position]:
        """What follows ``at`` and the position behind it; empty when nothing more is there yet."""
        keys = parts(self._platform.objects, self._run_id)
        while at.part < len(keys):
            data, _ = read_log(self._platform.objects, keys[at.part], at.offset)
            last = at.part == len(keys) - 1
            text, taken = whole_text(data, final=final or not last)
            if taken or last:
                return text, Position(at.part, at.offset + taken)
            at = Position(at.part + 1)
        return "", at

    def end(self) -> BakeLogEnd | None:
        """How the run ended; None while it goes on."""
        with self._platform.store.read() as session:
            row = session.exec(select(BakeRow).where(BakeRow.run_id == self._run_id)).one()
        if row.state not in ENDED:
            return None
        return BakeLogEnd(
            state=BakeState(row.state), message=(row.failure or {}).get("message", "")
        )


async def bake_log(
    platform: Platform, run_id: str, *, follow: bool, last_id: str | None
) -> Response:
    """The log in the form that the request asks for."""
    reader = BakeLogReader(platform, run_id)
    if follow:
        return event_stream(_follow(reader, Position.parse(last_id) if last_id else Position()))
    text = await run_in_threadpool(whole_log, reader)
    return Response(text, media_type="text/plain")


def whole_log(reader: BakeLogReader) -> str:
    """What there is of the log so far, up to ``MAX_TEXT_BYTES``."""
    found: list[str] = []
    at, size = Position(), 0
    while size < MAX_TEXT_BYTES:
        text, behind = reader.read(at, final=True)
        if behind == at:
            break
        found.append(text)
        at, size = behind, size + len(text)
    return "".join(found)


async def _follow(reader: BakeLogReader, at: Position) -> AsyncIterator[ServerSentEvent]:
    while True:
        end = await asyncio.to_thread(reader.end)
        while True:
            text, behind = await asyncio.to_thread(reader.read, at, final=end is not None)
            if behind == at:
                break
            at = behind
            yield event("log", BakeLogChunk(text=text), str(at))
        if end is not None:
            yield event("end", end)
            return
        await asyncio.sleep(POLL_SECONDS)

"""Errands over HTTP: start one, wait for it, follow its outputs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from api import lifecycles
from api.deps import Platform
from api.lifecycles import Start, failure_of, translated
from api.streams import POLL_SECONDS, event, event_stream
from fleetwide.errors import Conflict, FleetwideError, InvalidInput, NotFound
from fleetwide.models.errands import (
    ErrandEnd,
    ErrandResult,
    ErrandSpec,
    Fetched,
    OutputChunk,
    OutputStream,
    UsageSample,
    Work,
)
from fleetwide.providers import errand_objects
from fleetwide.providers.attempt_logs import read_log
from fleetwide.providers.objects import ObjectStore
from fleetwide.store import errands
from fleetwide.temporal import search_attributes as attributes

WAIT_SECONDS = 45.0
"""For errands that are short; clients wait for an answer for a minute."""
_PIECE = 1 << 20


def workflow_id_of(errand_id: str) -> str:
    return f"errand/{errand_id}"


def start_of(errand_id: str, task_id: str, by: str, work: Work) -> Start:
    """The workflow of one errand."""
    return Start(
        workflow_type="TaskErrand",
        workflow_id=workflow_id_of(errand_id),
        spec=ErrandSpec(task_id=task_id, by=by, work=work),
        summary=f"{work.kind} in task {task_id}",
        attributes=attributes.pairs({attributes.PRODUCT: "containers"}),
    )


async def refuse_unless_live(platform: Platform, task_id: str) -> None:
    """Say at once what the errand's workflow would say a moment later.

    Raises:
        NotFound, Conflict: the task is not there, or does not run.
    """

    def look() -> None:
        with platform.store.read() as session:
            errands.live_attempt(session, task_id)

    await run_in_threadpool(look)


async def do(platform: Platform, task_id: str, by: str, work: Work) -> ErrandResult:
    """Start an errand and wait for its end; its failure is raised."""
    await refuse_unless_live(platform, task_id)
    errand_id = errand_objects.new_errand_id()
    handle = await lifecycles.start(platform, start_of(errand_id, task_id, by, work))
    async with translated(handle.id):
        return await asyncio.wait_for(_result(handle), WAIT_SECONDS)


async def _result(handle: WorkflowHandle[Any, Any]) -> ErrandResult:
    try:
        return ErrandResult.model_validate(await handle.result())
    except WorkflowFailureError as error:
        if isinstance(error.cause, CancelledError):
            raise Conflict("the errand was cancelled") from error
        raise failure_of(error.cause) from error


async def content(platform: Platform, errand_id: str) -> Response:
    """What a fetch brought, as bytes.

    Raises:
        NotFound: it is no errand that fetched anything, or its time is over.
    """
    fetched = await _fetched(platform, errand_id)
    key = errand_objects.content_key(errand_id)
    stream = await run_in_threadpool(platform.objects.open_stream, key)
    kind = "application/x-tar" if fetched.folder else "application/octet-stream"
    headers = {"Content-Length": str(fetched.size), "Fleetwide-Sha256": fetched.sha256}

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while piece := await run_in_threadpool(stream.read, _PIECE):
                yield piece
        finally:
            stream.close()

    return StreamingResponse(pieces(), media_type=kind, headers=headers)


async def _fetched(platform: Platform, errand_id: str) -> Fetched:
    client = await platform.temporal.client()
    handle = client.get_workflow_handle(workflow_id_of(errand_id))
    async with translated(handle.id):
        status = (await handle.describe(rpc_timeout=lifecycles.RPC_TIMEOUT)).status
        if status is not None and lifecycles.STATUS[status] == "running":
            raise Conflict("the errand goes on", hint="ask again when it has ended")
        result = await _result(handle)
    if result.fetched is None:
        raise NotFound(f"errand {errand_id} fetched nothing")
    return result.fetched


@dataclass(frozen=True)
class Position:
    """How far a reader has come in each output."""

    stdout: int = 0
    stderr: int = 0

    def __str__(self) -> str:
        return f"{self.stdout}:{self.stderr}"

    def of(self, stream: OutputStream) -> int:
        return self.stdout if stream is OutputStream.STDOUT else self.stderr

    @classmethod
    def parse(cls, text: str) -> "Position":
        first, colon, second = text.partition(":")
        for one in (first, second):
            if not (colon and one.isascii() and one.isdecimal() and len(one) <= 13):
                raise InvalidInput.for_field(
                    "Last-Event-ID", "must be the id of an earlier event", given=text
                )
        return cls(int(first), int(second))


async def follow(platform: Platform, errand_id: str, last_id: str | None) -> Response:
    """Both outputs as they come, then the end, as server-sent events."""
    start = Position.parse(last_id) if last_id else Position()
    return event_stream(_events(platform, errand_id, start))


async def _events(
    platform: Platform, errand_id: str, at: Position
) -> AsyncIterator[ServerSentEvent]:
    ending = asyncio.create_task(_end(platform, errand_id))
    reader = _Reader(platform.objects, errand_id)
    try:
        while True:
            over = ending.done()
            for stream in OutputStream:
                while True:
                    data, behind = await asyncio.to_thread(reader.read, stream, at)
                    if not data:
                        break
                    at = behind
                    yield event(stream, OutputChunk(data=data), str(at))
            if over:
                yield event("end", await ending)
                return
            await asyncio.wait({ending}, timeout=POLL_SECONDS)
    finally:
        ending.cancel()


@dataclass(frozen=True)
class _Reader:
    """Reads the outputs of one errand, from threads."""

    objects: ObjectStore
    errand_id: str

    def read(self, stream: OutputStream, at: Position) -> tuple[bytes, Position]:
        """What follows in one output, and the position behind it; empty when nothing does yet."""
        key = errand_objects.output_key(self.errand_id, stream)
        data, behind = read_log(self.objects, key, at.of(stream))
        return data, replace(at, **{stream.value: behind})


async def _end(platform: Platform, errand_id: str) -> ErrandEnd:
    client = await platform.temporal.client()
    handle = client.get_workflow_handle(workflow_id_of(errand_id))
    try:
        async with translated(handle.id):
            return ErrandEnd(result=await _result(handle))
    except FleetwideError as error:
        return ErrandEnd(error=error.message, code=error.code)


def sample_of(objects: ObjectStore, errand_id: str) -> UsageSample:
    """The one sample of a ``stats`` errand.

    Raises:
        Conflict: the container ended before one could be taken.
    """
    data, _ = read_log(objects, errand_objects.output_key(errand_id, OutputStream.STDOUT), 0)
    try:
        return UsageSample.model_validate_json(data)
    except ValidationError as error:
        raise Conflict("the container ended before it could be measured") from error

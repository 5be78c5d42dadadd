"""What was baked before, answered in front of the framework, and a crowd by one look.

``POST /v1/bakes`` is asked again and again for what there is already, by every deployment of every
pipeline, and a framework's part of such an answer costs more than the answer. Only plain requests
whose image is there are answered here; all else, each error among it, is left to the route.
"""

import asyncio
import json
from collections.abc import Iterable
from types import SimpleNamespace

import structlog
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import bakes as admission
from api.deps import Platform
from fleetwide.errors import FleetwideError
from fleetwide.models.bakery import BakeSpec

PATH = "/v1/bakes"
JSON = b"application/json"
log = structlog.get_logger()

_ROUTE = SimpleNamespace(path=PATH)
"""What the span of a request is named by."""


class CachedBakes:
    """An ASGI layer within ``RequestEdge``; of one event loop.

    Requests that come while others are looked up wait for the next look, which opens the books
    once for all of them, and reads once what equal ones ask for. So each sees all that was written
    before it came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._asked: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_plain(scope):
            await self.app(scope, receive, send)
            return
        message = await receive()
        found = None
        if message["type"] == "http.request" and not message.get("more_body"):
            found = await self._find(scope["app"].state.platform, message["body"])
        if found is None:
            await self.app(scope, _again(message, receive), send)
            return
        scope["route"] = _ROUTE
        headers = [(b"content-length", b"%d" % len(found)), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": found})

    async def _find(self, platform: Platform, body: bytes) -> bytes | None:
        waiting = self._asked.get(body)
        if waiting is None:
            waiting = self._asked[body] = asyncio.get_running_loop().create_future()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(platform))
        # Who gives up takes the answer from nobody else.
        return await asyncio.shield(waiting)

    async def _look(self, platform: Platform) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await _answer_all(platform, asked)
        finally:
            self._looking = None


async def _answer_all(platform: Platform, asked: dict[bytes, asyncio.Future[bytes | None]]) -> None:
    found: dict[bytes, bytes | None] = {}
    try:
        found = await to_thread.run_sync(
            _look_up, platform, list(asked), limiter=platform.admissions
        )
    except Exception:
        # The route will meet the same, and tell each of them.
        log.exception("a look at what was baked before failed")
    finally:
        for body, waiting in asked.items():
            waiting.set_result(found.get(body))


def _look_up(platform: Platform, bodies: Iterable[bytes]) -> dict[bytes, bytes | None]:
    """The answers by their requests; None and missing ones are the route's to give."""
    found: dict[bytes, bytes | None] = {}
    try:
        with platform.store.read() as session:
            for body in bodies:
                found[body] = _answer(platform, session, body)
    except SQLAlchemyError:
        return found
    return found


def _answer(platform: Platform, session: Session, body: bytes) -> bytes | None:
    try:
        spec = BakeSpec.model_validate(json.loads(body))
        image = admission.known_image(session, spec)
    except (FleetwideError, ValueError, RecursionError):
        return None
    if image is None:
        return None
    return admission.finished(platform.settings, image).model_dump_json().encode()


def _is_plain(scope: Scope) -> bool:
    """Whether nothing but the body says what is asked for."""
    if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
        return False
    headers: dict[bytes, bytes] = dict(scope["headers"])
    return (
        not scope["query_string"]
        and headers.get(b"content-type") == JSON
        # With it no body is longer than may be: ``RequestEdge`` has seen to that.
        and b"content-length" in headers
        and b"idempotency-key" not in headers
    )


def _again(message: Message, receive: Receive) -> Receive:
    """``receive`` with a message before it that was taken already."""
    taken = [message]

    async def replayed() -> Message:
        return taken.pop() if taken else await receive()

    return replayed

"""What happens around every request: an id, a span, limits of what may come, a last net."""

import re
from typing import Any
from urllib.parse import unquote_plus

import structlog
from fastapi import HTTPException
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from api.problems import internal_problem, plain_problem, problem_of, respond
from fleetwide.errors import InvalidInput
from fleetwide.models.texts import is_line

MAX_BODY_BYTES = 1024 * 1024
TOO_LARGE = f"a request's body may have {MAX_BODY_BYTES} bytes"
UNLIMITED_PATHS = frozenset({"/v1/artifacts"})
REQUEST_ID_HEADER = b"x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger()
tracer = trace.get_tracer("fleetwide.api")


class RequestEdge:
    """The outermost ASGI layer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        scope["request_id"] = _request_id(headers)
        with (
            structlog.contextvars.bound_contextvars(request_id=scope["request_id"]),
            tracer.start_as_current_span(
                f"{scope['method']} {scope['path']}",
                context=propagate.extract(headers),
                kind=SpanKind.SERVER,
                attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
            ) as span,
        ):
            await _Exchange(self.app, scope, receive, send, span).run(headers)


class _Exchange:
    """One request and its response."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, span: Span
    ) -> None:
        self.app = app
        self.scope = scope
        self._receive = receive
        self._send = send
        self.span = span
        self.received = 0
        self.started = False

    async def run(self, headers: dict[str, str]) -> None:
        length = headers.get("content-length", "0")
        if self.limited and length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            await self._answer_too_large()
            return
        unclean = _unclean_part(self.scope)
        if unclean is not None:
            problem = problem_of(
                InvalidInput.for_field(unclean, "must not hold control characters")
            )
            await respond(self.scope, problem)(self.scope, self._receive, self.send)
            return
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception as error:
            self.span.record_exception(error)
            log.exception("a request failed unexpectedly", path=self.scope["path"])
            if self.started:
                raise
            response = respond(self.scope, internal_problem())
            await response(self.scope, self._receive, self.send)

    @property
    def limited(self) -> bool:
        return self.scope["path"] not in UNLIMITED_PATHS

    async def _answer_too_large(self) -> None:
        problem = plain_problem(413, TOO_LARGE)
        await respond(self.scope, problem)(self.scope, self._receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        if self.limited and self.received > MAX_BODY_BYTES:
            # FastAPI turns any other exception of a body into "is not JSON".
            raise HTTPException(413, TOO_LARGE)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            status = message["status"]
            self.span.set_attribute("http.response.status_code", status)
            self._name_span()
            if status >= 500:
                self.span.set_status(StatusCode.ERROR)
            request_id = (REQUEST_ID_HEADER, self.scope["request_id"].encode())
            message = {**message, "headers": [*message.get("headers", []), request_id]}
        await self._send(message)

    def _name_span(self) -> None:
        route: Any = self.scope.get("route")
        path = getattr(route, "path", None)
        if path:
            self.span.update_name(f"{self.scope['method']} {path}")
            self.span.set_attribute("http.route", path)


def _unclean_part(scope: Scope) -> str | None:
    """The part of the address with control characters, which no name, key or cursor holds."""
    if not is_line(scope["path"]):
        return "path"
    return None if is_line(unquote_plus(scope["query_string"].decode("latin-1"))) else "query"


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


def _request_id(headers: dict[str, str]) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else str(ULID())

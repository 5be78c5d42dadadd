"""The gateway as a raw ASGI application: one function call from the socket to the handler.

A framework's routing alone would cost more than the whole answer to a pull.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.types import Receive, Scope, Send

from api.oci import (
    blobs,
    listings,
    manifests,
    metrics,
    preheats,
    pushes,
    referrers,
    upload_checks,
    uploads,
)
from api.oci.auth import TOKEN_PATH, Authority
from api.oci.errors import OciError, fault_reply, unavailable
from api.oci.gateway import Gateway, ended
from api.oci.replies import API_VERSION, JSON, Reply, header
from api.oci.requests import Disconnected, Request
from api.oci.routes import NOTHING, PREHEAT, Route, route_of
from api.oci.token import answer_token
from fleetwide.errors import FleetwideError, PlatformError
from fleetwide.providers.backend import BackendRefused
from fleetwide.registry.nginx import UPLOAD_CHECK
from fleetwide.settings import Settings, TraceExporter

Handler = Callable[[Gateway, Request], Awaitable[Reply]]

HANDLERS: dict[str, dict[str, Handler]] = {
    "manifests": {
        "GET": manifests.read,
        "HEAD": manifests.read,
        "PUT": pushes.put,
        "DELETE": pushes.delete,
    },
    "blobs": {"GET": blobs.read, "HEAD": blobs.read, "DELETE": blobs.delete},
    "tags": {"GET": listings.tags, "HEAD": listings.tags},
    "referrers": {"GET": referrers.read, "HEAD": referrers.read},
    "begin": {"POST": uploads.start},
    "uploads": dict.fromkeys(("GET", "HEAD", "PATCH", "PUT", "DELETE"), uploads.carry_on),
}
READS = frozenset({"GET", "HEAD"})
HEALTH = "/healthz"

log = structlog.get_logger()
tracer = trace.get_tracer("fleetwide.registry")


class OciApp:
    """The ASGI application. What it stands on is connected to when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts = metrics.RequestCounts()
        self._traced = settings.trace_exporter is not TraceExporter.NONE
        self.gateway = Gateway.open(settings)
        self.authority = Authority(settings, self.gateway.store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        counting = asyncio.create_task(self.gateway.pulls.run())
        address = self.settings.metrics_address
        server = await metrics.serve(self.counts, address) if address else None
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if server is not None:
            server.close()
        await ended(counting)
        await self.gateway.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        try:
            route = route_of(scope["raw_path"])
            request = Request(scope, receive, route)
            reply = await (self._spanned(request) if self._traced else self._answer(request))
        except OciError as error:
            route, reply = NOTHING, error.reply()
        except Disconnected:
            return
        self.counts.note(route.kind, method, reply.status)
        await _send(send, reply, head=method == "HEAD")
        if method not in READS or reply.status >= 500:
            self._log(route, method, reply, scope)

    async def _answer(self, request: Request) -> Reply:
        try:
            return await self._handle(request)
        except OciError as error:
            return error.reply()
        except Disconnected:
            raise
        except BackendRefused as refused:
            log.warning("the blob store gave an unexpected answer", status=refused.status)
            return unavailable("the blob store").reply()
        except FleetwideError as fault:
            if isinstance(fault, PlatformError):
                log.warning("a part of the registry does not answer", reason=fault.message)
            return fault_reply(fault).reply()
        except (DBAPIError, PoolTimeout) as error:
            # Also a transaction that the database broke off for the sake of another.
            log.warning("the index does not answer", reason=type(error).__name__)
            return unavailable("the index").reply()
        except Exception:
            log.exception("a request failed unexpectedly", path=request.scope["path"])
            return OciError(500, "UNKNOWN", "something broke inside").reply()

    async def _handle(self, request: Request) -> Reply:
        route, gateway = request.route, self.gateway
        if route.kind == "nothing":
            return await self._beside(request)
        self.authority.admit(request)
        if route.kind == "base":
            return Reply(200, [JSON], b"{}")
        if route.kind == "catalog":
            return await listings.catalog(
                gateway, request, await self.authority.readable(request.by)
            )
        if route.kind == PREHEAT:
            return await preheats.share_key(gateway, self.authority, request)
        begins = route.kind == "uploads" and not route.reference
        handlers = HANDLERS["begin" if begins else route.kind]
        handler = handlers.get(request.method)
        if handler is None:
            raise _not_allowed(handlers)
        return await handler(gateway, request)

    async def _beside(self, request: Request) -> Reply:
        """What is not of the specification."""
        path = request.scope["path"]
        if path == UPLOAD_CHECK:
            return await upload_checks.answer(self.gateway, self.authority, request)
        if path == TOKEN_PATH:
            return await answer_token(self.authority, request)
        if path == HEALTH:
            return Reply(200, [JSON], b'{"status":"ok"}')
        return OciError(404, "UNSUPPORTED", "there is nothing at this path").reply()

    async def _spanned(self, request: Request) -> Reply:
        carrier = {key.decode("latin-1"): request.header(key) for key in request.headers}
        name = f"{request.method} {request.route.kind}"
        attributes = {
            "http.request.method": request.method,
            "fleetwide.repository": request.repository,
            "fleetwide.reference": request.reference,
        }
        with tracer.start_as_current_span(
            name,
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
        ) as span:
            reply = await self._answer(request)
            span.set_attribute("http.response.status_code", reply.status)
            if reply.status >= 500:
                span.set_status(StatusCode.ERROR)
            return reply

    @staticmethod
    def _log(route: Route, method: str, reply: Reply, scope: Scope) -> None:
        client = scope.get("client") or ("", 0)
        log.info(
            "request",
            method=method,
            route=route.kind,
            repository=route.repository,
            reference=route.reference,
            status=reply.status,
            client=client[0],
        )


def _not_allowed(handlers: dict[str, Handler]) -> OciError:
    allow = header("allow", ", ".join(handlers))
    return OciError(405, "UNSUPPORTED", "this cannot be done here", headers=[allow])


async def _send(send: Send, reply: Reply, *, head: bool) -> None:
    headers = [*reply.headers, API_VERSION]
    if reply.status not in (204, 304):
        size = len(reply.body) if reply.size is None else reply.size
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})

"""The layer that answers what was baked before, in front of the framework."""

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from anyio import CapacityLimiter
from fastapi.routing import APIRoute
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from api import bakes as admission
from api import cached_bakes
from api.cached_bakes import CachedBakes
from api.routers import bakery
from tests.api.harness import Plane
from tests.api.test_bakes import bake, spec_of

PLAIN = {"content-type": "application/json"}
ROUTE = {"wait": 0}
"""A query that says nothing, and leads past the layer to the route."""


@pytest.fixture(scope="module")
def base(http: TestClient) -> str:
    """The name of an OS line with a stable release."""
    line = {"name": "frontbase", "suite": "bookworm", "version": "1"}
    http.post("/v1/os/builds", params={"wait": 30}, json=line)
    promoted = http.post("/v1/os/releases/frontbase/candidate/promote", json={})
    assert promoted.status_code == 200, promoted.text
    return "frontbase"


@pytest.fixture
def by_route(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the route was asked."""
    asked: list[str] = []
    admit = admission.admit

    def noted(*given: Any) -> Any:
        asked.append("admit")
        return admit(*given)

    monkeypatch.setattr(admission, "admit", noted)
    return asked


def test_the_answer_is_that_of_the_route(http: TestClient, base: str, by_route: list[str]) -> None:
    spec = spec_of(http, base, "fronted")
    bake(http, spec)
    by_route.clear()
    front = http.post("/v1/bakes", json=spec)
    assert by_route == []
    route = http.post("/v1/bakes", params=ROUTE, json=spec)
    assert by_route == ["admit"]
    assert (front.status_code, front.content) == (route.status_code, route.content)
    assert front.headers["x-request-id"] != route.headers["x-request-id"]
    for answer in (front, route):
        del answer.headers["x-request-id"]
    assert front.headers == route.headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"name": "x", "colour": "red"}',
        b'{"name": "no base", "version": "1", "base": "nowhere:stable", "artifacts": []}',
    ],
)
def test_what_is_wrong_is_told_by_the_route(http: TestClient, body: bytes) -> None:
    front, route = (
        http.post("/v1/bakes", params=params, content=body, headers=PLAIN).json()
        for params in ({}, ROUTE)
    )
    assert front.pop("request_id") != route.pop("request_id")
    assert front == route
    assert front["status"] in (400, 422)


def test_only_plain_requests_are_answered_in_front(
    http: TestClient, base: str, by_route: list[str]
) -> None:
    spec = spec_of(http, base, "plain")
    first = bake(http, spec)
    by_route.clear()
    text = http.build_request("POST", "/", json=spec).content
    for asked in (
        http.post("/v1/bakes", json=spec, headers={"Idempotency-Key": "plain-1"}),
        http.post("/v1/bakes", content=text, headers={"content-type": "application/json; a=b"}),
        http.post("/v1/bakes", content=iter([text[:9], text[9:]]), headers=PLAIN),
    ):
        assert asked.json()["result"]["digest"] == first["result"]["digest"]
    assert len(by_route) == 3


def test_a_base_that_was_revoked_since_is_told(http: TestClient) -> None:
    line = {"name": "shortlived", "suite": "bookworm", "version": "1"}
    http.post("/v1/os/builds", params={"wait": 30}, json=line)
    http.post("/v1/os/releases/shortlived/candidate/promote", json={})
    spec = {**spec_of(http, "shortlived", "orphaned"), "base": "shortlived:1"}
    bake(http, spec)
    assert http.post("/v1/bakes", json=spec).status_code == 200
    revoked = http.post("/v1/os/releases/shortlived/1/revoke", json={"reason": "leaks a key"})
    assert revoked.status_code == 200, revoked.text
    told = http.post("/v1/bakes", json=spec)
    assert (told.status_code, told.json()["code"]) == (410, "BaseUnusable")


def test_books_that_cannot_be_opened_are_told_by_the_route(
    http: TestClient, plane: Plane, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(http, base, "closed")
    bake(http, spec)

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr("fleetwide.store.bakes.resolve", away)
    told = http.post("/v1/bakes", json=spec)
    assert (told.status_code, told.json()["code"]) == (503, "ServiceUnavailable")


def test_the_route_asks_nobody_for_a_name() -> None:
    """What the route came to ask of its callers, the layer would have to ask too."""
    routes = [one for one in bakery.router.routes if isinstance(one, APIRoute)]
    [route] = [one for one in routes if one.path == "/v1/bakes" and "POST" in (one.methods or ())]
    assert (route.dependencies, bakery.router.dependencies) == ([], [])


class Crowd:
    """The layer with books that answer when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks: list[list[bytes]] = []
        self.open = threading.Semaphore(0)
        self.left_to_route = 0
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/v1/bakes",
            "query_string": b"",
            "app": Starlette(),
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"1")],
        }
        self.scope["app"].state.platform = self
        self.admissions = CapacityLimiter(2)
        self.layer = CachedBakes(self.route)
        monkeypatch.setattr(cached_bakes, "_look_up", self.look)

    def look(self, _platform: object, bodies: Iterable[bytes]) -> dict[bytes, bytes | None]:
        self.looks.append(list(bodies))
        assert self.open.acquire(timeout=30)
        return {body: b"to " + body for body in bodies if body != b"new"}

    async def route(self, _scope: Scope, receive: Receive, send: Send) -> None:
        self.left_to_route += 1
        body = b"route " + (await receive())["body"]
        await send({"type": "http.response.body", "body": body})

    async def ask(self, body: bytes) -> bytes:
        answered: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            answered.append(message)

        await self.layer(self.scope, receive, send)
        found: bytes = answered[-1]["body"]
        return found

    async def until_looks(self, count: int) -> None:
        while len(self.looks) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    return Crowd(monkeypatch)


async def test_who_comes_during_a_look_is_served_by_the_next(crowd: Crowd) -> None:
    first = asyncio.create_task(crowd.ask(b"a"))
    await crowd.until_looks(1)
    later = [asyncio.create_task(crowd.ask(body)) for body in (b"a", b"a", b"b", b"new")]
    await asyncio.sleep(0)
    crowd.open.release(2)
    assert await first == b"to a"
    assert await asyncio.gather(*later) == [b"to a", b"to a", b"to b", b"route new"]
    assert crowd.looks == [[b"a"], [b"a", b"b", b"new"]]
    crowd.open.release()
    assert await crowd.ask(b"c") == b"to c"
    assert crowd.left_to_route == 1


async def test_who_gives_up_takes_the_answer_from_nobody(crowd: Crowd) -> None:
    asked = [asyncio.create_task(crowd.ask(b"a")) for _ in range(2)]
    await crowd.until_looks(1)
    asked[0].cancel()
    crowd.open.release()
    assert await asked[1] == b"to a"
    with pytest.raises(asyncio.CancelledError):
        await asked[0]


async def test_a_look_that_breaks_leaves_all_to_the_route(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> dict[bytes, bytes | None]:
        raise LookupError

    with monkeypatch.context() as patched:
        patched.setattr(cached_bakes, "_look_up", broken)
        assert await crowd.ask(b"a") == b"route a"
    crowd.open.release()
    assert await crowd.ask(b"a") == b"to a"

"""What clients are told when an upstream refuses, sends nonsense, hangs, or cannot be asked."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.oci import fetches, pull_through
from api.oci.errors import OciError
from api.oci.fetches import Seen
from api.oci.gateway import Gateway
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import MANIFEST_TYPE
from fleetwide.settings import Settings
from fleetwide.store.registry_reads import Resolved
from tests.registry_index import image

NAME = ("mirror/app", "1.0")
KNOWN = Resolved(1, digest_of(b"old"), MANIFEST_TYPE, 3)
NEW = image("a").data
BLOB = digest_of(b"a blob")
DENIED = json.dumps({"errors": [{"code": "DENIED", "message": "inner-rule-7"}]}).encode()


class Upstream:
    """Answers everything alike: not before it is let go when it ``hangs``, HEAD when it refuses."""

    def __init__(self) -> None:
        self.status, self.data = 200, NEW
        self.hangs = self.refuses = False
        self.asked = 0
        """How often for what a tag means."""
        self.go_on = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            do_HEAD = do_GET  # noqa: N815  # the base's name

            def log_message(self, *_: object) -> None:
                """The test's own output stays readable."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked += request.command == "HEAD" and "/manifests/" in request.path
        if self.hangs and not self.go_on.wait(30):
            return
        refused = self.refuses and request.command == "GET"
        data = DENIED if refused else self.data
        request.send_response(403 if refused else self.status)
        request.send_header("Content-Type", MANIFEST_TYPE)
        request.send_header("Docker-Content-Digest", digest_of(self.data))
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    running = Upstream()
    yield running
    running.close()


@pytest.fixture
def backend() -> Iterator[Upstream]:
    """The gateway's own Distribution, which has nothing."""
    running = Upstream()
    running.status = 404
    yield running
    running.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    place = tmp_path / "the-secret"
    place.write_text("word")
    return place


@pytest.fixture
async def gateway(
    tmp_path: Path, sqlite_template: Path, upstream: Upstream, backend: Upstream, secret: Path
) -> AsyncIterator[Gateway]:
    login = {"username": "me", "password_file": str(secret)}
    entry = {"url": upstream.url, "login": login, "tag_seconds": 0}
    regions = tmp_path / "regions.json"
    regions.write_text(json.dumps({"upstreams": {"mirror": entry}}))
    database = tmp_path / "test.db"
    shutil.copy(sqlite_template, database)
    made = Gateway.open(
        Settings(
            database_url=SecretStr(f"sqlite:///{database}"),
            registry_regions=regions,
            registry_backend_url=backend.url,
        )
    )
    yield made
    upstream.go_on.set()
    await made.close()


async def assert_away(gateway: Gateway) -> None:
    """The known answer is served with a warning; without one there is a 503 that tells nothing."""
    seen = await pull_through.manifest(gateway, NAME, KNOWN)
    assert seen == Seen(KNOWN, warning=pull_through.STALE)
    with pytest.raises(OciError) as raised:
        await pull_through.manifest(gateway, NAME, None)
    assert_says_nothing(raised.value)


def assert_says_nothing(fault: OciError) -> None:
    assert (fault.status, fault.message) == (503, "the upstream does not answer")


async def test_what_an_upstream_says_is_taken(gateway: Gateway) -> None:
    seen = await pull_through.manifest(gateway, NAME, KNOWN)
    assert seen is not None
    assert (seen.data, seen.warning) == (NEW, None)


async def test_a_refusal_of_the_upstream_is_not_the_clients(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.refuses = True
    await assert_away(gateway)
    with pytest.raises(OciError) as raised:
        await pull_through.blob(gateway, NAME[0], BLOB)
    assert_says_nothing(raised.value)


async def test_what_is_no_manifest_is_an_upstream_that_is_away(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.data = b"<html>"
    await assert_away(gateway)


async def test_a_secret_that_is_missing_here_is_not_told(gateway: Gateway, secret: Path) -> None:
    await asyncio.to_thread(secret.unlink)
    await assert_away(gateway)
    with pytest.raises(OciError) as raised:
        await pull_through.blob(gateway, NAME[0], BLOB)
    assert_says_nothing(raised.value)


async def test_an_upstream_that_hangs_holds_up_no_known_answer(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_through, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(pull_through, "PATIENCE_SECONDS", 0.2)
    upstream.hangs = True
    await assert_away(gateway)
    monkeypatch.setattr(pull_through, "LOOK_SECONDS", 30.0)
    later = asyncio.ensure_future(pull_through.manifest(gateway, NAME, KNOWN))
    await asyncio.sleep(0)
    upstream.go_on.set()
    # Nobody waited any more for what was asked first; it is heard all the same.
    seen = await later
    assert seen is not None
    assert (seen.data, seen.warning) == (NEW, None)
    assert upstream.asked == 1


async def test_blobs_on_their_way_hold_up_no_question(gateway: Gateway) -> None:
    release = threading.Event()
    started = threading.Semaphore(0)

    def blob() -> bool:
        started.release()
        return release.wait(30)

    copies = [asyncio.ensure_future(gateway.fetches.fetching(blob)) for _ in range(fetches.FETCHES)]
    for _ in copies:
        assert await asyncio.to_thread(started.acquire, True, 30)
    seen = await pull_through.manifest(gateway, NAME, KNOWN)
    assert seen is not None
    assert seen.warning is None
    assert not any(copy.done() for copy in copies)
    release.set()
    assert all(await asyncio.gather(*copies))

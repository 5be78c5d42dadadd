"""The platform's client before a registry that asks for tokens: what it sends where, and how often."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from fleetwide.errors import RegistryUnavailable
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_auth import Credentials
from fleetwide.settings import Settings

ME = Credentials("me", "s3cret")
DIGEST = f"sha256:{'0' * 64}"
PIECE = b"x" * 1024 * 1024
"""The client reads streams in pieces of this size."""


class Registry:
    """Asks for tokens as a registry does, and remembers what it was shown."""

    def __init__(self, realm: str = "") -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.valid: set[str] = set()
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  # the base's names

            def log_message(self, *_: object) -> None:
                """The test's own output stays readable."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.realm = realm or f"{self.url}/auth/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, path: str) -> int:
        return Counter(seen[1] for seen in self.seen)[path]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        url, shown = urlsplit(request.path), request.headers.get("Authorization", "")
        self.seen.append((request.command, url.path, shown))
        if url.path == "/auth/token":
            token = f"token-{len(self.seen)}-{parse_qs(url.query).get('scope', [''])[0]}"
            self.valid.add(token)
            reply(request, 200, json.dumps({"token": token, "expires_in": 300}).encode())
        elif shown.removeprefix("Bearer ") not in self.valid:
            scope = f"repository:{url.path.split('/')[2]}:pull"
            challenge = f'Bearer realm="{self.realm}",service="s",scope="{scope}"'
            reply(request, 401, b"{}", {"WWW-Authenticate": challenge})
        elif url.path.endswith("/uploads/"):
            reply(request, 202, b"", {"Location": f"{elsewhere(self)}/upload"})
        elif "/blobs/" in url.path:
            self.slowly(request)
        else:
            reply(request, 200, b'{"tags": ["1"]}')

    def slowly(self, request: BaseHTTPRequestHandler) -> None:
        """A body whose second half comes when the first was read."""
        request.send_response(200 if request.command == "GET" else 404)
        request.send_header("Content-Length", str(len(PIECE) + 3))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(PIECE)
            request.wfile.flush()
            assert self.release.wait(30)
            request.wfile.write(b"def")


def elsewhere(registry: Registry) -> str:
    """The same server by another name, so another place for a client."""
    return registry.url.replace("127.0.0.1", "localhost")


def reply(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[Registry]:
    running = Registry()
    yield running
    running.close()


def test_one_token_serves_all_requests_alike(registry: Registry) -> None:
    with RegistryClient(registry.url, ME) as client:
        for _ in range(3):
            assert client.list_tags("a") == ["1"]
        assert registry.count("/auth/token") == 1
        client.list_tags("b")
    assert registry.count("/auth/token") == 2
    assert registry.seen[1][2] == ME.basic()
    shown = [shown for _, path, shown in registry.seen if path == "/v2/a/tags/list"]
    assert shown == ["", *[shown[-1]] * 3]


def test_threads_share_what_one_of_them_was_given(registry: Registry) -> None:
    with RegistryClient(registry.url, ME) as client, ThreadPoolExecutor(8) as pool:
        client.list_tags("a")
        found = list(pool.map(client.list_tags, ["a"] * 50))
    assert found == [["1"]] * 50
    assert registry.count("/auth/token") == 1


def test_a_token_that_is_refused_is_replaced(registry: Registry) -> None:
    with RegistryClient(registry.url, ME) as client:
        client.list_tags("a")
        registry.valid.clear()
        assert client.list_tags("a") == ["1"]
    assert registry.count("/auth/token") == 2


def test_a_stream_is_not_read_before_its_reader_asks(registry: Registry) -> None:
    with RegistryClient(registry.url, ME) as client:
        with client.stream_blob("a", DIGEST) as pieces:
            first = next(pieces)
            registry.release.set()
            assert first + b"".join(pieces) == PIECE + b"def"


def test_no_token_goes_to_another_place(registry: Registry) -> None:
    with RegistryClient(registry.url, ME) as client:
        with pytest.raises(RegistryUnavailable):
            client.upload_blob("a", b"x", DIGEST)
    uploads = [shown for _, path, shown in registry.seen if path == "/upload"]
    assert uploads
    assert set(uploads) == {""}


def test_the_secret_does_not_go_to_a_stranger_without_tls() -> None:
    stranger = Registry()
    asking = Registry(realm=f"{stranger.url}/auth/token")
    with RegistryClient(asking.url, ME) as client:
        with pytest.raises(RegistryUnavailable, match="another server") as raised:
            client.list_tags("a")
    assert ME.password not in str(raised.value)
    assert stranger.seen == []
    stranger.close()
    asking.close()


def test_a_process_without_an_account_asks_anonymously(registry: Registry) -> None:
    with RegistryClient.from_settings(Settings(registry_url=registry.url)) as client:
        assert client.list_tags("a") == ["1"]
    assert all("Basic" not in shown for _, _, shown in registry.seen)


def test_credentials_do_not_show(registry: Registry) -> None:
    settings = Settings(registry_username="me", registry_password="s3cret")
    credentials = Credentials.of(settings)
    assert credentials == ME
    assert "s3cret" not in f"{credentials!r} {settings!r}"

"""The platform's client before a registry that answers without end, or compressed unasked."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleetwide.errors import ImageNotFound, RegistryUnavailable
from fleetwide.providers.bounded_answers import MAX_ANSWER, MAX_REMARK
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference

PIECE = b" " * 64 * 1024
DATA = b"{" + b" " * 4 * 1024**2 + b"}"
DIGEST = digest_of(DATA)


class Hostile:
    """Answers the path's last part: its status, headers and pieces of the body."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], Callable[[], Iterator[bytes]]]] = {}
        self.accepted: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """The test's own output stays readable."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.accepted.append(request.headers.get("Accept-Encoding", ""))
        name = request.path.partition("?")[0].rpartition("/")[2]
        status, headers, pieces = self.answers[name]
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        request.end_headers()
        with suppress(OSError):
            for piece in pieces():
                request.wfile.write(piece)


def endless() -> Iterator[bytes]:
    while True:
        yield PIECE


def once(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([data])


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    running = Hostile()
    yield running
    running.close()


@pytest.fixture
def client(hostile: Hostile) -> Iterator[RegistryClient]:
    with RegistryClient(hostile.url) as made:
        yield made


def challenge(hostile: Hostile) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="{hostile.url}/token",service="s"'}


def test_the_largest_manifest_is_taken_and_asked_for_as_it_is(
    hostile: Hostile, client: RegistryClient
) -> None:
    hostile.answers["1"] = (200, {}, once(DATA))
    assert client.get_manifest(ImageReference("a", tag="1")).data == DATA
    assert hostile.accepted == ["identity"]


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_manifest_without_end_is_not_read(
    hostile: Hostile, client: RegistryClient, status: int
) -> None:
    hostile.answers["1"] = (status, {}, endless)
    with pytest.raises(RegistryUnavailable, match="more than a registry would"):
        client.get_manifest(ImageReference("a", tag="1"))


@pytest.mark.parametrize("part", ["1", "token"])
def test_a_login_without_end_is_not_read(
    hostile: Hostile, client: RegistryClient, part: str
) -> None:
    hostile.answers["1"] = (401, challenge(hostile), once(b"{}"))
    hostile.answers["token"] = (200, {}, once(b'{"token": "t"}'))
    status, headers, _ = hostile.answers[part]
    hostile.answers[part] = (status, headers, endless)
    with pytest.raises(RegistryUnavailable, match="more than a registry would"):
        client.get_manifest(ImageReference("a", tag="1"))
    assert set(hostile.accepted) == {"identity"}


def test_a_redirect_without_end_is_not_read(hostile: Hostile, client: RegistryClient) -> None:
    hostile.answers["1"] = (307, {"Location": f"{hostile.url}/there"}, endless)
    with pytest.raises(RegistryUnavailable, match="more than a registry would"):
        client.get_manifest(ImageReference("a", tag="1"))


def test_what_is_compressed_unasked_is_not_unpacked(
    hostile: Hostile, client: RegistryClient
) -> None:
    packed = gzip.compress(DATA)
    hostile.answers[DIGEST] = (200, {"Content-Encoding": "gzip"}, once(packed))
    with pytest.raises(RegistryUnavailable, match=digest_of(packed)):
        client.get_manifest(ImageReference("a", digest=DIGEST))
    hostile.answers["2"] = (404, {"Content-Encoding": "gzip"}, once(packed))
    with pytest.raises(ImageNotFound):
        client.get_manifest(ImageReference("a", tag="2"))


def test_a_blob_may_have_any_size_but_not_an_error_in_its_place(
    hostile: Hostile, client: RegistryClient
) -> None:
    hostile.answers[DIGEST] = (200, {}, lambda: (PIECE for _ in range(100)))
    with client.stream_blob("a", DIGEST) as pieces:
        assert sum(map(len, pieces)) == 100 * len(PIECE) > MAX_ANSWER
    hostile.answers[DIGEST] = (500, {}, endless)
    with pytest.raises(RegistryUnavailable), client.stream_blob("a", DIGEST) as pieces:
        next(pieces)


def test_a_token_may_not_be_larger_than_a_remark(hostile: Hostile, client: RegistryClient) -> None:
    token = json.dumps({"token": "t" * MAX_REMARK}).encode()
    hostile.answers["1"] = (401, challenge(hostile), once(b"{}"))
    hostile.answers["token"] = (200, {}, once(token))
    with pytest.raises(RegistryUnavailable, match="more than a registry would"):
        client.get_manifest(ImageReference("a", tag="1"))

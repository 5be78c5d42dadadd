"""Clients that send heads without an end, or without haste, to a gateway without nginx."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn

from api.oci.connections import MAX_HEAD, BoundedConnection
from tests.registry_stack import free_port

REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: here\r\n"
PATIENCE = 60


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes of the body."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


class Impatient(BoundedConnection):
    head_seconds = 0.3


def serve(protocol: type[BoundedConnection]) -> Iterator[int]:
    port = free_port()
    config = uvicorn.Config(
        app, port=port, log_config=None, loop="asyncio", http=protocol, ws="none", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    """The port of a server that waits as long as the gateway does."""
    yield from serve(BoundedConnection)


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    yield from serve(Impatient)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass  # it closed with bytes of ours unread
    return found


def ask(connection: socket.socket) -> None:
    """One request, and its answer to the last byte."""
    connection.sendall(REQUEST + b"\r\n")
    found = b""
    while not found.endswith(b"\r\n\r\n0"):
        found += connection.recv(65536)
    assert status(found) == 200


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def test_a_head_of_the_usual_size_and_any_body_pass(patient: int) -> None:
    token = b"Authorization: Bearer " + b"x" * 16_000 + b"\r\n"
    body = b"y" * 1_000_000
    length = b"Content-Length: %d\r\n" % len(body)
    close = b"Connection: close\r\n\r\n"
    with connect(patient) as connection:
        for ending in (b"\r\n", close):
            connection.sendall(REQUEST + token + length + ending + body)
        replies = answer(connection)
    assert replies.count(b"HTTP/1.1 200") == 2
    assert replies.count(b"1000000") == 2


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: here\r\n\r\n",
        REQUEST + b"A: " + b"a" * MAX_HEAD + b"\r\n\r\n",
        REQUEST + b"a: b\r\n" * (MAX_HEAD // 6) + b"\r\n",
        REQUEST + b"A: " + b"a" * 200_000,
        REQUEST + b"a: b\r\n" * 50_000,
    ],
    ids=[
        "a long path",
        "a long header",
        "many headers",
        "a header without end",
        "headers for ever",
    ],
)
def test_a_head_that_is_too_large_is_refused(patient: int, head: bytes) -> None:
    with connect(patient) as connection:
        connection.sendall(head)
        reply = answer(connection)
    assert status(reply) == 431
    (error,) = json.loads(reply.partition(b"\r\n\r\n")[2])["errors"]
    assert str(MAX_HEAD) in error["message"]


def test_a_later_request_of_a_connection_is_bound_too(patient: int) -> None:
    with connect(patient) as connection:
        ask(connection)
        connection.sendall(REQUEST + b"A: " + b"a" * MAX_HEAD)
        connection.sendall(b"a" * MAX_HEAD)
        assert status(answer(connection)) == 431


def test_what_is_no_request_is_malformed_and_not_large(patient: int) -> None:
    with connect(patient) as connection:
        connection.sendall(b"\0\1\2 nonsense\r\n\r\n")
        assert status(answer(connection)) == 400


def test_a_head_that_comes_too_slowly_is_given_up(impatient: int) -> None:
    with connect(impatient) as connection:
        connection.sendall(REQUEST)
        assert status(answer(connection)) == 408


def test_who_drips_bytes_is_given_up_all_the_same(impatient: int) -> None:
    with connect(impatient) as connection:
        ask(connection)
        connection.settimeout(0.05)
        found, deadline = b"", time.monotonic() + PATIENCE
        while not found and time.monotonic() < deadline:
            connection.sendall(b"\r\n")
            with suppress(TimeoutError):
                found = connection.recv(65536)
    assert status(found) == 408


def test_who_says_nothing_is_hung_up_on(impatient: int) -> None:
    with connect(impatient) as connection:
        assert answer(connection) == b""


def test_a_slow_body_is_waited_for(impatient: int) -> None:
    with connect(impatient) as connection:
        connection.sendall(REQUEST + b"Content-Length: 2\r\nConnection: close\r\n\r\na")
        time.sleep(3 * Impatient.head_seconds)
        connection.sendall(b"b")
        reply = answer(connection)
    assert status(reply) == 200
    assert reply.endswith(b"2")

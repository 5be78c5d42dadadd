"""gRPC health checks: a real server in all its moods, and servers that are none."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.models.health import GrpcProbe
from fleetwide.providers.grpc_probe import HealthCall, grpc_complaint

STATUSES = health_pb2.HealthCheckResponse


@contextmanager
def served(servicer: health_pb2_grpc.HealthServicer | None) -> Iterator[int]:
    """A gRPC server on a free port; without a servicer it offers nothing."""
    server = grpc.server(ThreadPoolExecutor(2))
    if servicer is not None:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def asked(port: int, service: str = "", seconds: float = 10) -> str | None:
    said = grpc_complaint("127.0.0.1", GrpcProbe(port=port, service=service), seconds)
    return said and said.removeprefix(f"gRPC :{port}").removeprefix(f" {service}")


def test_a_server_and_its_services_tell_how_they_are() -> None:
    servicer = health.HealthServicer()
    servicer.set("shop.Cart", STATUSES.NOT_SERVING)
    servicer.set("shop.Odd", STATUSES.SERVICE_UNKNOWN)
    servicer.set("shop.New", STATUSES.UNKNOWN)
    with served(servicer) as port:
        assert asked(port) is None
        assert asked(port, "shop.Cart") == ": NOT_SERVING"
        assert asked(port, "shop.Odd") == ": SERVICE_UNKNOWN"
        assert asked(port, "shop.New") == ": UNKNOWN"
        assert asked(port, "nobody") == ": the server does not know the service nobody"
        servicer.set("shop.Cart", STATUSES.SERVING)
        assert asked(port, "shop.Cart") is None
        servicer.enter_graceful_shutdown()
        assert asked(port) == ": NOT_SERVING"


class Refusing(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it brings no types
    def Check(self, request: object, context: grpc.ServicerContext) -> None:  # noqa: N802
        context.abort(grpc.StatusCode.UNAVAILABLE, "the database is away: 100 %")


def test_a_server_that_refuses_or_offers_no_health_is_told_of() -> None:
    with served(Refusing()) as port:
        assert asked(port) == ": UNAVAILABLE: the database is away: 100 %"
    with served(None) as port:
        assert asked(port) == ": the server does not offer grpc.health.v1.Health"


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """Sends ``answer`` to whoever asks and closes; None: takes the question and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def serve() -> None:
            taken, _ = listening.accept()
            with taken, suppress(OSError):
                taken.recv(4096)
                if answer is None:
                    over.wait(30)
                else:
                    taken.sendall(answer)
                    taken.shutdown(socket.SHUT_WR)
                    taken.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        over.set()
        thread.join()


def _speaking_http2(kind: str, status: str = "200", body: bytes = b"") -> bytes:
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(HealthCall("x", "", 1).outgoing())
    server.send_headers(1, [(":status", status), ("content-type", kind), ("grpc-status", "0")])
    server.send_data(1, body, end_stream=True)
    return server.data_to_send()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no gRPC: the server speaks HTTP/1"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the server wants TLS"),
        (b"SSH-2.0-x\r\n" * 9, "no gRPC"),
        (_speaking_http2("application/grpc", body=b"\0\0\0\0\2\x08\1"), None),
        (_speaking_http2("application/grpc", body=b"\1\0\0\0\2\x08\1"), "no HealthCheckResponse"),
        (_speaking_http2("application/grpc", body=b"\0\0\0\0\2\x10\1"), "no HealthCheckResponse"),
        (_speaking_http2("application/grpc", "503"), ": status 503"),
        (_speaking_http2("text/html"), "its content type is text/html"),
        (b"\0\xff\xff\x06" * 40_000, "no gRPC"),
        (None, "timed out"),
    ],
)
def test_what_other_servers_answer(answer: bytes | None, said: str | None) -> None:
    with answering(answer) as port:
        found = asked(port, seconds=1 if answer is None else 10)
    assert found is None if said is None else said in str(found)


def test_nobody_there_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert asked(port) == ": Connection refused"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 100), st.binary(max_size=12), st.integers(0, 12))
def test_no_bytes_break_a_call(place: int, wrong: bytes, left_out: int) -> None:
    good = _speaking_http2("application/grpc", body=b"\0\0\0\0\2\x08\1")
    call = HealthCall("x", "", 1)
    for piece in (good[:place], wrong, good[place + left_out :], b"\0"):
        call.outgoing()
        if piece and not call.over:
            call.take(piece)
    if not call.over:
        call.take(b"")
    if not wrong and not left_out:
        assert call.complaint() is None
    else:
        assert call.complaint() != ""

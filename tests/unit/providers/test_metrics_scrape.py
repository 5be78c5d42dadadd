"""Endpoints are read over real connections; whatever answers, it ends in time and is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from fleetwide.models.metrics_endpoint import MetricsEndpoint
from fleetwide.providers.metrics_scrape import MAX_ANSWER, scrape
from fleetwide.services.exposition import Unreadable

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def answering(*pieces: bytes) -> Iterator[int]:
    """Sends these to whoever asks, slowly where there are many."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            taken, _ = listening.accept()
            with taken, suppress(OSError):
                asked = taken.recv(4096)
                assert asked.startswith(b"GET /metrics HTTP/1.1\r\n")
                for piece in pieces:
                    taken.sendall(piece)
                    over.wait(0.02 if len(pieces) > 9 else 0)
                taken.shutdown(socket.SHUT_WR)
                taken.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()


def asked(port: int, seconds: float = 20) -> bytes:
    endpoint = {"port": port, "metrics": [{"name": "requests", "series": "x"}]}
    return scrape("127.0.0.1", MetricsEndpoint.model_validate(endpoint), seconds)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 4\r\n\r\nx 1\nand more",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nx \r\n2\r\n1\n\r\n0\r\n\r\n",
        OK + b"\r\nx 1\n",
    ],
)
def test_an_answer_is_read_whole(answer: bytes) -> None:
    with answering(answer) as port:
        assert asked(port) == b"x 1\n"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([b""], "closed connection without response"),
        ([b"SSH-2.0-x\r\n"], "no whole HTTP answer"),
        ([OK + b"A: " + b"x" * 70_000 + b"\r\n\r\n"], "no whole HTTP answer"),
        ([OK + b"Content-Length: 9\r\n\r\nx 1\n"], "no whole HTTP answer"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], "no whole HTTP answer"),
        ([OK + b"Content-Length: -4\r\n\r\nx 1\n" + b"x" * MAX_ANSWER], "sends more than"),
        ([OK + b"\r\n" + b"x" * (MAX_ANSWER + 1)], f"sends more than {MAX_ANSWER} bytes"),
        ([OK + b"Content-Encoding: gzip\r\n\r\nx"], "the answer is compressed"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"], "status 302"),
        ([b"HTTP/1.1 500 No\r\n\r\n"], "status 500"),
        ([OK, b"\r\n", *[b"x"] * 3000], "timed out"),
    ],
)
def test_what_is_no_answer_is_told(pieces: list[bytes], said: str) -> None:
    with answering(*pieces) as port, pytest.raises(Unreadable) as refused:
        asked(port, 1 if len(pieces) > 9 else 20)
    assert str(refused.value).startswith(f"GET :{port}/metrics: ")
    assert said in str(refused.value)


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(Unreadable, match="Connection refused"):
        asked(port)

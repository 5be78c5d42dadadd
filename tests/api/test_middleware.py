"""The span of a request, and the server as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from api.middleware import RequestEdge
from fleetwide.client import Client
from fleetwide.errors import NotFound, ServiceUnavailable
from fleetwide.store.session import Store
from tests.api.harness import HOST, free_port, prepare, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("api.middleware.tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x", int(request.path_params["status"]))


def test_a_request_is_one_span_of_its_callers_trace(spans: InMemorySpanExporter) -> None:
    client = TestClient(RequestEdge(Starlette(routes=[Route("/{status}", answer)])))
    client.get("/200", headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
    client.get("/503")
    fine, failed = spans.get_finished_spans()
    assert fine.context is not None
    assert f"{fine.context.trace_id:032x}" == TRACE
    assert fine.attributes is not None
    assert fine.attributes["http.response.status_code"] == 200
    assert failed.status.status_code is StatusCode.ERROR


def test_the_process_serves_streams_and_ends_on_sigterm(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/fleetwide.db"
    store = Store.open(database)
    prepare(store)
    store.engine.dispose()
    port, away = free_port(), free_port()
    environment = {
        **os.environ,
        "FLEETWIDE_DATABASE_URL": database,
        "FLEETWIDE_API_PORT": str(port),
        "FLEETWIDE_TEMPORAL_ADDRESS": f"127.0.0.1:{away}",
        "FLEETWIDE_OBJECT_STORE_URL": f"file:{tmp_path}/objects",
        "FLEETWIDE_STATE_DIR": str(tmp_path / "state"),
    }
    command = [sys.executable, "-c", "from fleetwide.cli.main import main; main()", "api"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_until(lambda: answers(client), "the API answers")
            assert [host.host_id for host in client.hosts().items] == [HOST]
            stream = client.follow_events()
            assert next(stream).subject == f"host/{HOST}"
            with pytest.raises(NotFound, match="there is no OS release"):
                client.os.get("x", "y")
            assert client.health().checks["database"] == "ok"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            stream.close()  # type: ignore[attr-defined]
    finally:
        process.kill()
        process.wait(10)


def answers(client: Client) -> bool:
    try:
        client.hosts()
    except ServiceUnavailable:
        return False
    return True

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fleetwide.settings import Settings
from fleetwide.telemetry import configure_tracing, traced_by

PROGRAM = """
import sys
from opentelemetry import propagate, trace
from fleetwide.settings import Settings
from fleetwide.telemetry import configure_tracing

assert configure_tracing(Settings(), "worker-host") is not None
with trace.get_tracer("t").start_as_current_span("container start"):
    carrier = {}
    propagate.inject(carrier)
    print(carrier["traceparent"])
"""


class Collector(HTTPServer):
    """Takes OTLP over HTTP and keeps what it got."""

    def __init__(self) -> None:
        self.received: list[tuple[str, ExportTraceServiceRequest]] = []
        super().__init__(("127.0.0.1", 0), CollectorHandler)


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        self.server.received.append((self.path, request))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run_program(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_tracing_is_off_by_default() -> None:
    assert configure_tracing(Settings(), "api") is None


def test_spans_reach_a_collector_before_the_process_ends(collector: Collector) -> None:
    traceparent = run_program(
        FLEETWIDE_TRACE_EXPORTER="otlp",
        FLEETWIDE_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}/",
    )
    ((path, request),) = collector.received
    assert path == "/v1/traces"
    (spans,) = request.resource_spans
    names = {each.key: each.value.string_value for each in spans.resource.attributes}
    assert names["service.name"] == "fleetwide-worker-host"
    (span,) = spans.scope_spans[0].spans
    assert span.name == "container start"
    assert traceparent.split("-")[1] == span.trace_id.hex()


def test_the_console_exporter_prints_spans() -> None:
    assert '"name": "container start"' in run_program(FLEETWIDE_TRACE_EXPORTER="console")


def test_a_provider_names_its_service() -> None:
    exporter = InMemorySpanExporter()
    provider = traced_by(exporter, "api")
    with provider.get_tracer("t").start_as_current_span("request"):
        pass
    provider.force_flush()
    (span,) = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == "fleetwide-api"
    provider.shutdown()

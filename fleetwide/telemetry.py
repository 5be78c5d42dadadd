"""Traces: spans of this process, sent where the settings say."""

import atexit

from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fleetwide import __version__
from fleetwide.settings import Settings, TraceExporter


def configure_tracing(settings: Settings, service: str) -> TracerProvider | None:
    """Make the process's tracer provider; None, and no cost, when tracing is off.

    Spans are sent in batches, and at the exit of the process. Contexts travel as W3C
    ``traceparent`` and ``baggage``. Call it once per process.
    """
    exporter = _exporter(settings)
    if exporter is None:
        return None
    provider = traced_by(exporter, service)
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(
        CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    )
    atexit.register(provider.shutdown)
    return provider


def traced_by(exporter: SpanExporter, service: str) -> TracerProvider:
    """A provider that hands the spans of ``service`` to ``exporter`` in batches."""
    resource = Resource.create({SERVICE_NAME: f"fleetwide-{service}", SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter(settings: Settings) -> SpanExporter | None:
    match settings.trace_exporter:
        case TraceExporter.NONE:
            return None
        case TraceExporter.CONSOLE:
            return ConsoleSpanExporter()
        case TraceExporter.OTLP:
            return _otlp_exporter(settings.otlp_endpoint)


def _otlp_exporter(endpoint: str) -> SpanExporter:
    # Imports protobuf and requests: only processes that send traces pay for it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")

"""One way to connect to Temporal, for workers and the API alike."""

import asyncio

import structlog
from temporalio.client import Client, Interceptor
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError

from fleetwide.settings import Settings, TraceExporter
from fleetwide.temporal.converter import data_converter

CONNECT_WAIT_SECONDS = 2.0

log = structlog.get_logger()


def make_runtime(settings: Settings) -> Runtime | None:
    """The process's own Temporal runtime, when it shall serve the SDK's metrics; make only one."""
    address = settings.metrics_address
    if address is None:
        return None
    return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=address)))


async def connect(settings: Settings, runtime: Runtime | None = None) -> Client:
    """Connect, waiting for as long as Temporal is not there yet."""
    tracing: list[Interceptor] = (
        [] if settings.trace_exporter is TraceExporter.NONE else [TracingInterceptor()]
    )
    while True:
        try:
            return await Client.connect(
                settings.temporal_address,
                namespace=settings.temporal_namespace,
                data_converter=data_converter,
                interceptors=tracing,
                runtime=runtime,
            )
        except (RPCError, RuntimeError) as error:
            log.warning("waiting for Temporal", address=settings.temporal_address, error=str(error))
            await asyncio.sleep(CONNECT_WAIT_SECONDS)

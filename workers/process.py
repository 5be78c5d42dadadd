"""What every worker process does around its work: logs, traces, metrics, signals, a clean exit."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from temporalio.client import Client

from fleetwide.logs import configure_logging
from fleetwide.settings import Settings, get_settings
from fleetwide.telemetry import configure_tracing
from fleetwide.temporal.client import connect, make_runtime

log = structlog.get_logger()


@dataclass(frozen=True)
class Process:
    """What the body of a worker process is given; ``stop`` is set by SIGTERM and SIGINT."""

    settings: Settings
    client: Client
    stop: asyncio.Event


def run(service: str, body: Callable[[Process], Awaitable[None]]) -> None:
    """Run ``body`` until it returns or a signal arrives, then end the process.

    The process ends by ``os._exit``: an interpreter that shuts down while the SDK's threads still
    run can abort after all work is done.
    """
    settings = get_settings()
    configure_logging(settings, service)
    provider = configure_tracing(settings, service)
    code = 0
    try:
        asyncio.run(_main(service, settings, body))
    except Exception:
        log.exception("worker failed", service=service)
        code = 1
    if provider is not None:
        provider.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _main(
    service: str, settings: Settings, body: Callable[[Process], Awaitable[None]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = await connect(settings, make_runtime(settings))
    log.info("worker started", service=service, temporal=settings.temporal_address)
    await body(Process(settings, client, stop))
    log.info("worker stopped", service=service)

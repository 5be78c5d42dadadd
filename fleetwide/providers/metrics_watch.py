"""Reads the metrics that copies of services tell at their own endpoints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol

from fleetwide.models.containers import RunContainer
from fleetwide.models.metrics_endpoint import CopyMetrics, MetricsEndpoint
from fleetwide.providers.metrics_scrape import SCRAPE_TIMEOUT_SECONDS, scrape
from fleetwide.providers.ticker import Ticker
from fleetwide.services.endpoint_meter import EndpointMeter, Readings
from fleetwide.services.exposition import Unreadable

SCRAPE_SECONDS = 15.0
# One endpoint that is slow holds up no other.
SCRAPE_THREADS = 16


class Reachable(Protocol):
    """An attempt, as far as its network goes."""

    @property
    def name(self) -> str: ...

    @property
    def run(self) -> RunContainer: ...

    @property
    def address(self) -> str | None:
        """None while there is no container to ask."""


class MetricsWatch:
    """Looks now and then at the endpoint of each copy that has one."""

    def __init__(self, interval: float = SCRAPE_SECONDS) -> None:
        self._ticker: Ticker[Reachable] = Ticker(
            "metrics watch", self._look, interval, threads=SCRAPE_THREADS
        )
        self._lock = Lock()
        self._meters: dict[str, EndpointMeter] = {}
        self._told: dict[str, CopyMetrics] = {}

    def endpoints(self) -> list[CopyMetrics]:
        """What each copy told last."""
        with self._lock:
            return list(self._told.values())

    @contextmanager
    def watching(self, attempt: Reachable) -> Iterator[None]:
        """Have an attempt's endpoint read while the block runs, if it has one."""
        endpoint = attempt.run.container.metrics_endpoint
        if endpoint is None or attempt.run.membership is None:
            yield
            return
        with self._lock:
            self._meters[attempt.name] = EndpointMeter(endpoint.metrics)
        try:
            with self._ticker.watching(attempt):
                yield
        finally:
            with self._lock:
                self._meters.pop(attempt.name, None)
                self._told.pop(attempt.name, None)

    def _look(self, attempt: Reachable) -> None:
        endpoint, member = attempt.run.container.metrics_endpoint, attempt.run.membership
        meter = self._meters.get(attempt.name)
        if attempt.address is None or endpoint is None or member is None or meter is None:
            return
        at = datetime.now(UTC)
        found = _read(meter, attempt.address, endpoint)
        told = CopyMetrics(
            task_id=member.task_id,
            service_id=member.service_id,
            at=at,
            values=found.values,
            faults=found.faults,
        )
        with self._lock:
            if self._meters.get(attempt.name) is meter:  # else it ended meanwhile
                self._told[attempt.name] = told


def _read(meter: EndpointMeter, address: str, endpoint: MetricsEndpoint) -> Readings:
    moment = time.monotonic()
    try:
        body = scrape(address, endpoint, SCRAPE_TIMEOUT_SECONDS)
    except Unreadable as error:
        return meter.failed(str(error))
    return meter.read(body, moment)

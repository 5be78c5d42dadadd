"""A thread that asks a running container again and again whether it is well."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread

from fleetwide.containers.health import HealthTally
from fleetwide.models.health import ContainerHealth, HealthReport, HealthStatus, OnUnhealthy
from fleetwide.providers.probes import Probe

_log = logging.getLogger(__name__)


class HealthWatch:
    """Watches one container that has run for ``age`` seconds, until ``stop``.

    ``on_unhealthy`` is called with the reason, once, when the check says that it has to end.
    """

    def __init__(
        self,
        check: ContainerHealth,
        probe: Probe,
        age: float,
        on_unhealthy: Callable[[str], None],
    ) -> None:
        self._tally = HealthTally(check, time.monotonic() - age)
        self._probe = probe
        self._on_unhealthy = on_unhealthy
        self._health = HealthReport(status=HealthStatus.STARTING, since=datetime.now(UTC))
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    @property
    def health(self) -> HealthReport:
        return self._health

    def stop(self) -> None:
        """Ask no more; does not wait for a question that is on its way."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(max(0.0, self._tally.next_try - time.monotonic())):
            begun = time.monotonic()
            said = self._probe()
            if not self._stopped.is_set():
                self._note(begun, said)

    def _note(self, begun: float, said: str | None) -> None:
        before = self._tally.status
        self._tally.note(begun, said)
        status = self._tally.status
        since = self._health.since if status is before else datetime.now(UTC)
        self._health = HealthReport(status=status, since=since, message=self._tally.said)
        ends = self._tally.check.on_unhealthy is OnUnhealthy.KILL
        if status is HealthStatus.UNHEALTHY and status is not before and ends:
            self._on_unhealthy(self._tally.explain())

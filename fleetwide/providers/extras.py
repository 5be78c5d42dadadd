"""One extra container of an attempt on this host, from its start to the evidence of its end."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from fleetwide.containers.company import container_name, log_key
from fleetwide.containers.outcome import ContainerState, signal_of
from fleetwide.errors import FleetwideError, ServiceUnavailable
from fleetwide.models.containers import RunContainer
from fleetwide.models.extra_containers import ExtraContainer, ExtraEnd, ExtraProgress
from fleetwide.models.health import HealthReport, HealthStatus
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.engine_times import age_of
from fleetwide.providers.fetching import Fetcher
from fleetwide.providers.following import Follower
from fleetwide.providers.health_watch import HealthWatch
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.probes import probe_for

# From the end of a container to its log's last byte.
LOG_END_SECONDS = 60.0
# The engine may be away for a while.
AGAIN_SECONDS = 1.0
_log = logging.getLogger(__name__)
Fail = Callable[[EndReason, str], None]


@dataclass(frozen=True)
class Setting:
    """What an attempt's extra containers have in common."""

    host: ContainerHost
    store: ObjectStore
    run: RunContainer
    fail: Fail
    """Ends the attempt, with the evidence; the first reason stays."""


class Extra:
    """Started by one thread, followed by one of its own."""

    def __init__(self, setting: Setting, spec: ExtraContainer, secrets: list[bytes] | None) -> None:
        self.spec = spec
        self.name = container_name(setting.run.key, spec.name)
        self._setting = setting
        self._secrets = secrets
        self._log_key = log_key(setting.run.key, spec.name)
        log = LogWriter(setting.store, self._log_key)
        self._follower = Follower(setting.host, log, self.name, secrets)
        self._state = TaskState.LAUNCHED
        self._container: str | None = None
        self._ended: ContainerState | None = None
        self._over = Event()
        self._expected = Event()
        self._watch: HealthWatch | None = None

    @property
    def started(self) -> bool:
        return self._container is not None

    @property
    def health(self) -> HealthReport | None:
        return self._watch.health if self._watch else None

    def progress(self) -> ExtraProgress:
        return ExtraProgress(name=self.spec.name, state=self._state, health=self.health)

    def start(self, fetcher: Fetcher, body: dict[str, Any], address: str | None) -> bool:
        """Start the container, or take up the one of its name; False when it is not wanted."""
        found = fetcher.create(self.name, body)
        if found is None:
            return False
        if found.status == "created":
            self._state = TaskState.START_INITIATED
            self._setting.host.start(found.id)
        self.take_up(found, address)
        return True

    def take_up(self, found: ContainerState, address: str | None) -> None:
        """Follow a container that was started, whether it still runs or not."""
        self._container = found.id
        self._state = TaskState.STARTED
        if self.spec.health is not None and not found.over:
            host, check = self._setting.host, self.spec.health
            probe = probe_for(host, found.id, check, address, self._secrets)
            self._watch = HealthWatch(check, probe, age_of(found), self._unhealthy)
        Thread(target=self._follow, name=f"follow {self.name}", daemon=True).start()

    def is_ready(self) -> bool:
        """Whether those that come after it may start; also when it will never be any better."""
        if self._over.is_set():
            return True
        health = self.health
        if health is None or health.status is HealthStatus.HEALTHY:
            return True
        if health.status is HealthStatus.UNHEALTHY:
            if self.spec.essential:
                self._unhealthy(health.message)
            return True
        return False

    def stop(self) -> None:
        """Stop it, with grace, and wait for the end of its log."""
        if self._over.is_set():
            return
        self._expected.set()
        self._follower.expect_end()
        if self._watch is not None:
            self._watch.stop()
        if self._container is not None:
            self._setting.host.stop(self._container)
            self._over.wait(LOG_END_SECONDS)

    def detach(self) -> None:
        self._expected.set()
        self._follower.detach()
        if self._watch is not None:
            self._watch.stop()

    def flush_log(self) -> None:
        self._follower.log.flush()

    def end(self) -> ExtraEnd:
        """How it ended, once it was stopped or has ended by itself; its log is stored."""
        self.flush_log()
        state = self._ended
        return ExtraEnd(
            name=self.spec.name,
            exit_code=state.exit_code if state else None,
            oom_killed=bool(state and state.oom_killed),
            message=self._message(),
            log_key=self._log_key,
            last_lines=self._follower.last_lines(),
        )

    def _follow(self) -> None:
        if not self._follow_to_end():
            return
        self._state = TaskState.FINISHED
        if self._watch is not None:
            self._watch.stop()
        failed = self._ended is None or self._ended.exit_code != 0
        if failed and self.spec.essential and not self._expected.is_set():
            self._setting.fail(EndReason.EXTRA_CONTAINER_FAILED, self._evidence())
        self._over.set()

    def _follow_to_end(self) -> bool:
        """False when it was let go before it ended."""
        assert self._container is not None
        while True:
            try:
                self._ended = self._follower.follow(self._container)
            except ServiceUnavailable:
                return False
            except FleetwideError:
                _log.warning("could not follow container %s", self.name, exc_info=True)
                time.sleep(AGAIN_SECONDS)
            else:
                return True

    def _unhealthy(self, why: str) -> None:
        if not self._expected.is_set():
            self._setting.fail(EndReason.UNHEALTHY, f"{self.spec.name}: {why}")

    def _message(self) -> str:
        if self._container is None:
            return "it was never started"
        if self._ended is None:
            return "it was removed by somebody else"
        if self._expected.is_set():
            return "stopped with the task"
        signal = signal_of(self._ended.exit_code)
        by_signal = f" (signal {signal})" if signal else ""
        memory = ", out of memory" if self._ended.oom_killed else ""
        return f"ended with exit code {self._ended.exit_code}{by_signal}{memory}"

    def _evidence(self) -> str:
        lines = self._follower.last_lines()
        told = f"; its last line: {lines[-1]}" if lines else ""
        return f"{self.spec.name} {self._message()}{told}"

"""One attempt on this host: from its request to its stored result, whoever began it.

Every step can be repeated. The container's name is the attempt's, so a second try finds the first
try's container: one that runs is followed, one that ended is collected, one that was never started
is started. The result is stored before the container is removed, and looked for before one is
made, so that no attempt ever runs twice.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Any

from opentelemetry import trace

from fleetwide.containers.launch import create_request
from fleetwide.containers.masks import Masker
from fleetwide.containers.outcome import (
    ContainerState,
    Outcome,
    classify,
    not_granted,
    not_there,
    start_failed,
    stopped_before_start,
)
from fleetwide.errors import FleetwideError, InvalidInput, UserError
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.extra_containers import Start
from fleetwide.models.health import HealthReport
from fleetwide.models.hosts import PullProgress, RunProgress
from fleetwide.models.task_states import END_TEXT, EndReason, TaskState
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.attempt_results import ended, load_result, save_result
from fleetwide.providers.companions import Company, Means
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.engine import ContainerEngine, NotGranted
from fleetwide.providers.engine_times import age_of
from fleetwide.providers.fetching import Fetcher
from fleetwide.providers.following import Follower
from fleetwide.providers.health_watch import HealthWatch
from fleetwide.providers.lease_folder import boot_time
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.probes import address_of, probe_for
from fleetwide.providers.seccomp import seccomp_profile

MAX_MESSAGE = 500
_log = logging.getLogger(__name__)
_tracer = trace.get_tracer("fleetwide.host")


class Attempt:
    """Runs one attempt in the calling thread; the other methods may be called from any thread.

    ``means`` are needed by attempts of more than one container, of volumes or secrets;
    ``may_start`` is asked before a container is started, and raises when none may be.
    """

    def __init__(
        self,
        host: ContainerEngine,
        store: ObjectStore,
        run: RunContainer,
        means: Callable[[ContainerHost], Means] | None = None,
        may_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.run = run
        self.name = run.key.container_name()
        self.address: str | None = None
        """Where this host reaches its running container, if anybody here asks it something."""
        self._host = host
        self._store = store
        self._may_start = may_start
        self._starting = Lock()
        self._detached = Event()
        self._done = Event()
        self._stopper: Thread | None = None
        self._asked_to_end: EndReason | None = None
        self._evidence = ""
        self._state = TaskState.LAUNCHED
        self._container_id: str | None = None
        self._started_at: datetime | None = None
        self._began = 0.0
        self._has_run = False
        self._follower: Follower | None = None
        self._health: HealthWatch | None = None
        self._pull: PullProgress | None = None
        self._fetcher = Fetcher(host, self._note_pull, self._is_wanted)
        self._company: Company | None = None
        if means is not None and run.container.has_company and isinstance(host, ContainerHost):
            self._company = Company(host, store, run, means(host), self.end)

    @property
    def asked_to_end(self) -> EndReason | None:
        """Why the platform ends this attempt, if it does."""
        return self._asked_to_end

    @property
    def health(self) -> HealthReport | None:
        """What the main container's checks tell; None where there are none."""
        return self._health.health if self._health else None

    def execute(self) -> AttemptResult:
        """Bring the attempt to its end.

        Raises what ``may_start`` does, ``ServiceUnavailable`` after ``detach``, ``ImageNotFound``,
        ``ImagePullFailed``, ``DockerUnavailable`` and ``ObjectStoreUnavailable``; whatever the
        container itself does is a result.
        """
        try:
            known = load_result(self._store, self.run.key)
            if known is not None:
                self._remove()
                return known
            return self._execute()
        except UserError:
            # Nobody comes back to it.
            self._remove()
            raise
        finally:
            self._let_go()
            self._done.set()

    def progress(self) -> RunProgress:
        return RunProgress(
            state=TaskState.KILL_INITIATED if self._asked_to_end else self._state,
            container_id=self._container_id,
            log_bytes=self._follower.log.size if self._follower else 0,
            pull=self._pull,
            health=self.health,
            extra_containers=self._company.progress() if self._company else [],
        )

    def flush_log(self) -> None:
        """Store what the containers wrote since the last time."""
        if self._follower is not None:
            self._follower.log.flush()
        if self._company is not None:
            self._company.flush_logs()

    def has_run(self) -> bool:
        """Whether its container has run since this was made."""
        return self._has_run

    def overdue(self) -> bool:
        """Whether the container ran longer than it may; setting the clock changes nothing."""
        limit = self.run.container.runtime_limit_seconds
        if limit is None or self._started_at is None:
            return False
        return boot_time() > self._began + limit

    def end(self, reason: EndReason, why: str = "") -> None:
        """Have the containers stopped, with grace; does not wait. The first reason stays.

        ``why`` is the evidence, for people.
        """
        if self._asked_to_end is None:
            self._evidence = why
        self._asked_to_end = self._asked_to_end or reason
        if self._follower is not None:
            self._follower.expect_end()
        if self._stopper is None or not self._stopper.is_alive():
            self._stopper = Thread(target=self._stop, name=f"stop {self.name}", daemon=True)
            self._stopper.start()

    def detach(self) -> None:
        """Let go of the container, which goes on; ``execute`` raises soon."""
        self._detached.set()
        if self._follower is not None:
            self._follower.detach()

    def wait_until_left(self, seconds: float) -> bool:
        """Wait until ``execute`` has returned or raised; False when it takes longer."""
        return self._done.wait(seconds)

    def _execute(self) -> AttemptResult:
        if self.run.resume and not self._runs():
            return self._finish(not_there(), None)
        try:
            with _tracer.start_as_current_span("container start") as span:
                span.set_attribute("fleetwide.host", self._host.host_id)
                span.set_attribute("container.image.name", self.run.image)
                span.set_attribute("container.name", self.name)
                container = self._launch()
                span.set_attribute("container.id", container or "")
        except InvalidInput as refusal:
            return self._finish(start_failed(refusal.fields[0].message), None)
        except NotGranted as refusal:
            return self._finish(not_granted(refusal.message), None)
        if container is None:
            reason = self._asked_to_end or EndReason.KILLED
            return self._finish(stopped_before_start(reason), None)
        assert self._follower is not None
        state = self._follower.follow(container)
        if state is None:
            return self._finish(_vanished(self._asked_to_end), None)
        lines = self._follower.last_lines()
        return self._finish(classify(state, self._asked_to_end, lines), state)

    def _runs(self) -> bool:
        """Whether its container was started, and is there."""
        found = self._host.inspect(self.name)
        return found is not None and found.status != "created"

    def _launch(self) -> str | None:
        """The id of the container, started now or before; None when asked to end before that."""
        found = self._find_or_create()
        if found is None:
            return None
        self._container_id = found.id
        with self._starting:
            if found.status == "created":
                if self._asked_to_end:
                    return None
                self._may_start()
                self._state = TaskState.START_INITIATED
                self._host.start(found.id)
            self._began = boot_time() - age_of(found)
            self._started_at = found.started_at or datetime.now(UTC)
        self._state, self._has_run = TaskState.STARTED, not found.over
        if self._asked_to_end:
            self._host.stop(found.id)
        if not found.over:
            self._accompany(found.id)
        return found.id

    def _accompany(self, container: str) -> None:
        """Start those that come after the main container, and ask it whether it is well."""
        if self._company is not None:
            self._company.start(Start.WITH, self._fetcher, self._is_wanted)
        if not isinstance(self._host, ContainerHost):
            return
        self.address = self._address(self._host, container)
        check = self.run.container.health
        if check is None:
            return
        probe = probe_for(self._host, container, check, self.address, self._secrets())
        age = boot_time() - self._began
        self._health = HealthWatch(check, probe, age, self._unhealthy)

    def _address(self, host: ContainerHost, container: str) -> str | None:
        """Looked for only where the container is asked something through its network."""
        spec = self.run.container
        if self._company is not None and self._company.address is not None:
            return self._company.address
        checked = spec.health is not None and spec.health.needs_address
        if not checked and spec.metrics_endpoint is None:
            return None
        return address_of(host, container, spec.network)

    def _unhealthy(self, why: str) -> None:
        self.end(EndReason.UNHEALTHY, why)

    def _secrets(self) -> list[bytes] | None:
        return self._company.secrets if self._company else []

    def _find_or_create(self) -> ContainerState | None:
        log = LogWriter(self._store, self.run.key.log_key())
        image = self._host.image_name(self.run.image)
        profile = seccomp_profile(self._host.seccomp_dir, self.run.container.security.seccomp)
        request = create_request(self.run, image, self._host.platform, profile)
        if self._company is None:
            found = self._fetcher.create(self.name, request)
        else:
            found = self._find_or_create_in(self._company, request)
        self._follower = Follower(self._host, log, self.name, self._secrets())
        if self._detached.is_set():
            self._follower.detach()
        self._follower.raise_if_detached()
        return found

    def _find_or_create_in(
        self, company: Company, request: dict[str, Any]
    ) -> ContainerState | None:
        """As ``_find_or_create``, after those that come before the main container."""
        main = self._host.inspect(self.name)
        if main is not None and main.over:
            company.remember()
            return main
        if main is not None and main.status != "created":
            if not company.gather(main_runs=True):
                self.end(EndReason.CRASHED, "the container that holds its network ended")
            return main
        if not company.fetch(request["Image"], self._fetcher, self._is_wanted):
            return None
        self._may_start()
        company.gather(main_runs=False)
        if not company.start(Start.BEFORE, self._fetcher, self._is_wanted):
            return None
        return self._fetcher.create(self.name, company.main_body(request))

    def _note_pull(self, progress: PullProgress) -> None:
        self._pull = progress

    def _is_wanted(self) -> bool:
        return not (self._detached.is_set() or self._asked_to_end)

    def _finish(self, outcome: Outcome, state: ContainerState | None) -> AttemptResult:
        message = outcome.message
        if self._evidence:
            message = f"{END_TEXT[outcome.reason]}: {self._evidence}"
        message = Masker(self._secrets() or ()).text(message)[:MAX_MESSAGE]
        outcome = replace(outcome, message=message)
        if self._health is not None:
            self._health.stop()
        if self._company is not None:
            for when in (Start.WITH, Start.BEFORE):
                self._company.stop(when)
        self.flush_log()
        image = self._host.image_name(self.run.image)
        result = ended(self.run.key, self._host.host_id, outcome, state).model_copy(
            update={
                "log_key": self.run.key.log_key(),
                "last_lines": self._follower.last_lines() if self._follower else [],
                "pull_seconds": self._fetcher.seconds.get(image),
                "health": self.health,
                "extra_containers": self._company.ends() if self._company else [],
            }
        )
        save_result(self._store, result)
        self._remove()
        self._state = TaskState.FINISHED
        return result

    def _remove(self) -> None:
        if self._company is not None:
            self._company.remove()
        else:
            self._host.remove(self.name)

    def _stop(self) -> None:
        with self._starting:
            container = self._container_id if self._started_at else None
        if container is None:
            return
        try:
            if self._company is not None:
                self._company.stop(Start.WITH)
            self._host.stop(container)
        except FleetwideError:
            _log.warning("could not stop container %s yet", self.name, exc_info=True)

    def _let_go(self) -> None:
        """Leave no thread behind that looks at the containers."""
        if self._health is not None:
            self._health.stop()
        if self._company is not None:
            self._company.detach()


def _vanished(asked_to_end: EndReason | None) -> Outcome:
    reason = asked_to_end or EndReason.CRASHED
    return Outcome(reason, "the container was removed by somebody else")

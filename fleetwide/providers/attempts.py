"""One attempt on this host: from its request to its stored result, whoever began it.

Every step can be repeated. The container's name is the attempt's, so a second try finds the first
try's container: one that runs is followed, one that ended is collected, one that was never started
is started. The result is stored before the container is removed, and looked for before one is
made, so that no attempt ever runs twice.
"""

import logging
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
from time import monotonic

from opentelemetry import trace

from fleetwide.containers.launch import create_request
from fleetwide.containers.outcome import (
    EXIT_KILLED,
    ContainerState,
    Outcome,
    classify,
    start_failed,
    stopped_before_start,
)
from fleetwide.errors import FleetwideError, ImagePullFailed, InvalidInput, ServiceUnavailable
from fleetwide.models.containers import AttemptResult, EndReason, RunContainer, TaskState
from fleetwide.models.hosts import PullProgress, RunProgress
from fleetwide.providers.attempt_logs import KEPT_LINES, LogWriter, last_lines
from fleetwide.providers.attempt_results import ended, load_result, save_result
from fleetwide.providers.docker import ContainerHost, LogStream
from fleetwide.providers.objects import ObjectStore

POLL_SECONDS = 1.0
# The kernel's word on a memory kill reaches Docker beside the exit, at times just after it.
OOM_NEWS_SECONDS = (0.02, 0.1, 0.3)
_log = logging.getLogger(__name__)
_tracer = trace.get_tracer("fleetwide.host")


class Attempt:
    """Runs one attempt in the calling thread; the other methods may be called from any thread."""

    def __init__(self, host: ContainerHost, store: ObjectStore, run: RunContainer) -> None:
        self.run = run
        self.name = run.key.container_name()
        self._host = host
        self._store = store
        self._starting = Lock()
        self._detached = Event()
        self._done = Event()
        self._stopper: Thread | None = None
        self._asked_to_end: EndReason | None = None
        self._state = TaskState.LAUNCHED
        self._container_id: str | None = None
        self._started_at: datetime | None = None
        self._stream: LogStream | None = None
        self._log: LogWriter | None = None
        self._pull: PullProgress | None = None
        self._pull_seconds: float | None = None

    @property
    def asked_to_end(self) -> EndReason | None:
        """Why the platform ends this attempt, if it does."""
        return self._asked_to_end

    def execute(self) -> AttemptResult:
        """Bring the attempt to its end.

        Raises ``ServiceUnavailable`` after ``detach``, ``ImageNotFound``, ``ImagePullFailed``,
        ``DockerUnavailable`` and ``ObjectStoreUnavailable``; whatever the container itself does
        is a result.
        """
        try:
            known = load_result(self._store, self.run.key)
            if known is not None:
                self._host.remove(self.name)
                return known
            return self._execute(LogWriter(self._store, self.run.key.log_key()))
        finally:
            self._done.set()

    def progress(self) -> RunProgress:
        return RunProgress(
            state=TaskState.KILL_INITIATED if self._asked_to_end else self._state,
            container_id=self._container_id,
            log_bytes=self._log.size if self._log else 0,
            pull=self._pull,
        )

    def flush_log(self) -> None:
        """Store what the container wrote since the last time."""
        if self._log is not None:
            self._log.flush()

    def overdue(self) -> bool:
        """Whether the container ran longer than it may."""
        limit = timedelta(seconds=self.run.container.runtime_limit_seconds)
        return self._started_at is not None and datetime.now(UTC) > self._started_at + limit

    def end(self, reason: EndReason) -> None:
        """Have the container stopped, with grace; does not wait. The first reason stays."""
        self._asked_to_end = self._asked_to_end or reason
        if self._stopper is None or not self._stopper.is_alive():
            self._stopper = Thread(target=self._stop, name=f"stop {self.name}", daemon=True)
            self._stopper.start()

    def detach(self) -> None:
        """Let go of the container, which goes on; ``execute`` raises soon."""
        self._detached.set()
        if self._stream is not None:
            self._stream.interrupt()

    def wait_until_left(self, seconds: float) -> bool:
        """Wait until ``execute`` has returned or raised; False when it takes longer."""
        return self._done.wait(seconds)

    def _execute(self, log: LogWriter) -> AttemptResult:
        self._log = log
        try:
            with _tracer.start_as_current_span("container start") as span:
                span.set_attribute("fleetwide.host", self._host.host_id)
                span.set_attribute("container.image.name", self.run.image)
                span.set_attribute("container.name", self.name)
                container = self._launch()
                span.set_attribute("container.id", container or "")
        except InvalidInput as refusal:
            return self._finish(start_failed(refusal.fields[0].message), None)
        if container is None:
            reason = self._asked_to_end or EndReason.KILLED
            return self._finish(stopped_before_start(reason), None)
        state = self._follow(container, log)
        if state is None:
            return self._finish(_vanished(self._asked_to_end), None)
        return self._finish(classify(state, self._asked_to_end, self._last_lines()), state)

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
                self._state = TaskState.START_INITIATED
                self._host.start(found.id)
            self._started_at = found.started_at or datetime.now(UTC)
        self._state = TaskState.STARTED
        if self._asked_to_end:
            self._host.stop(found.id)
        return found.id

    def _find_or_create(self) -> ContainerState | None:
        image = self._host.image_name(self.run.image)
        request = create_request(self.run, image, self._host.platform)
        found = self._host.create(self.name, request)
        if found is not None:
            return found
        began = monotonic()
        self._host.pull(image, self._note_pull)
        self._raise_if_detached()
        if self._asked_to_end:
            return None
        self._pull_seconds = monotonic() - began
        found = self._host.create(self.name, request)
        if found is None:
            raise ImagePullFailed(f"the image {image} was pulled, but Docker does not have it")
        return found

    def _note_pull(self, progress: PullProgress) -> bool:
        self._pull = progress
        return not (self._detached.is_set() or self._asked_to_end)

    def _follow(self, container: str, log: LogWriter) -> ContainerState | None:
        """Take the container's log until it has ended; None when somebody removed it."""
        while True:
            self._take_log(container, log)
            self._raise_if_detached()
            state = self._host.inspect(container)
            if state is None or state.over:
                return self._with_oom_news(state)
            if log.is_full() and self._detached.wait(POLL_SECONDS):
                self._raise_if_detached()

    def _take_log(self, container: str, log: LogWriter) -> None:
        if log.is_full():
            return
        log.restart()
        stream = self._stream = self._host.follow(container)
        if self._detached.is_set():
            stream.interrupt()
        try:
            for piece in self._host.read(stream):
                log.write(piece)
                if log.is_full():
                    break
        except (FleetwideError, OSError, ValueError):
            # Closing a stream under its reader surfaces in many ways.
            self._raise_if_detached()
            raise
        finally:
            stream.close()

    def _with_oom_news(self, state: ContainerState | None) -> ContainerState | None:
        for pause in OOM_NEWS_SECONDS:
            if state is None or state.oom_killed or state.exit_code != EXIT_KILLED:
                break
            if self._asked_to_end or self._detached.wait(pause):
                break
            state = self._host.inspect(state.id)
        return state

    def _last_lines(self) -> list[str]:
        if self._log is None:
            return []
        if self._log.is_full():
            return last_lines(self._host.recent_log(self.name, KEPT_LINES))
        return self._log.tail()

    def _finish(self, outcome: Outcome, state: ContainerState | None) -> AttemptResult:
        lines = self._last_lines()
        self.flush_log()
        result = ended(self.run.key, self._host.host_id, outcome, state).model_copy(
            update={
                "log_key": self.run.key.log_key(),
                "last_lines": lines,
                "pull_seconds": self._pull_seconds,
            }
        )
        save_result(self._store, result)
        self._host.remove(self.name)
        self._state = TaskState.FINISHED
        return result

    def _stop(self) -> None:
        with self._starting:
            container = self._container_id if self._started_at else None
        if container is None:
            return
        try:
            self._host.stop(container)
        except FleetwideError:
            _log.warning("could not stop container %s yet", self.name, exc_info=True)

    def _raise_if_detached(self) -> None:
        if self._detached.is_set():
            raise ServiceUnavailable(
                f"this worker let go of container {self.name}; the next try takes it up"
            )


def _vanished(asked_to_end: EndReason | None) -> Outcome:
    reason = asked_to_end or EndReason.LOST
    return Outcome(reason, "the container was removed by somebody else")

"""What a host worker does: run containers, describe its machine, watch its containers."""

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic

from temporalio import activity
from temporalio.client import Client

from activities.reaping import Reaper
from activities.tries import Tries
from fleetwide.containers.company import CONTAINER_LABEL
from fleetwide.containers.launch import key_from_labels
from fleetwide.containers.offers import disk_pressure
from fleetwide.errors import FleetwideError, ServiceUnavailable
from fleetwide.models.containers import AttemptKey, AttemptResult, RunContainer
from fleetwide.models.hosts import ContainerReport, HostFacts, HostReport
from fleetwide.models.returns import FindContainer, FoundContainer
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers.attempt_results import save_result
from fleetwide.providers.attempts import Attempt
from fleetwide.providers.companion_orphans import abandoned_volumes
from fleetwide.providers.companions import Means
from fleetwide.providers.disk_watch import DiskWatch
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.engine import ContainerEngine, ListedContainer
from fleetwide.providers.held_images import HeldImages
from fleetwide.providers.image_room import ImageKeeper
from fleetwide.providers.leases import AttemptLease, Leases
from fleetwide.providers.metrics_watch import MetricsWatch
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.ticker import Ticker
from fleetwide.providers.usage_watch import UsageWatch
from fleetwide.settings import Settings

MOST_PULSE_SECONDS = 3.0
"""Attempts are taken for dead after 10 seconds of silence."""
YOUNG_SECONDS = 60.0
"""For so long each pulse is a heartbeat; later, when there are many of them, one in a few is."""
RECONCILE_SECONDS = 15.0
TAKE_OVER_SECONDS = 30.0
# An object store far away takes its time for each log; a line is to be seen within two seconds.
FLUSH_THREADS = 16
# Total over Docker's container states.
TASK_STATES: dict[str, TaskState] = {
    "created": TaskState.LAUNCHED,
    "running": TaskState.STARTED,
    "paused": TaskState.STARTED,
    "restarting": TaskState.STARTED,
    "removing": TaskState.FINISHED,
    "exited": TaskState.FINISHED,
    "dead": TaskState.FINISHED,
}
_log = logging.getLogger(__name__)


@dataclass
class Pulse:
    """An attempt together with the activity that it belongs to."""

    attempt: Attempt
    context: contextvars.Context
    tries: Tries
    lease: AttemptLease | None = None
    began: float = field(default_factory=monotonic)
    told: float = 0.0
    """When Temporal heard of it last."""

    def beat(self) -> None:
        """Tell Temporal how far the attempt is; pass on what Temporal asks for."""
        self.context.run(self._beat)

    def _beat(self) -> None:
        if _cancel_requested():
            self.attempt.end(EndReason.KILLED)
        elif activity.is_cancelled() or activity.is_worker_shutdown():
            # Not the people's wish: the activity is retried, and finds the container.
            self.attempt.detach()
        elif self.attempt.overdue():
            self.attempt.end(EndReason.RUNTIME_LIMIT_EXCEEDED)
        progress = self.tries.note(self.attempt.progress())
        now = monotonic()
        if heartbeat_is_due(now - self.began, now - self.told, activity.info().heartbeat_timeout):
            self.told = now
            activity.heartbeat(progress)
        if self.lease is not None:
            self.lease.tick(progress)


def heartbeat_is_due(age: float, since_last: float, timeout: timedelta | None) -> bool:
    """Whether an attempt of this age tells Temporal that it lives: each time costs the server.

    All in seconds. By its heartbeats it also hears of a cancel, so they are never rare.
    """
    if age < YOUNG_SECONDS or timeout is None:
        return True
    return since_last >= min(MOST_PULSE_SECONDS, timeout.total_seconds() / 4)


class HostActivities:
    """The activities of one host worker.

    Without a ``client``, containers of closed workflows are not looked for; without ``leases``,
    nothing stops a container when Temporal is out of reach.
    """

    def __init__(
        self,
        settings: Settings,
        host: ContainerEngine,
        store: ObjectStore,
        client: Client | None = None,
        leases: Leases | None = None,
        images: ImageKeeper | None = None,
    ) -> None:
        self._settings = settings
        self._host = host
        self._store = store
        self._leases = leases
        self._images = images
        self._reaper = Reaper(host, store, client, leases.folder if leases else None)
        self._lock = Lock()
        self._attempts: dict[str, Attempt] = {}
        self._pulses = Ticker(
            "pulse", Pulse.beat, min(settings.host_report_seconds, MOST_PULSE_SECONDS)
        )
        self._disks = DiskWatch(host, settings.disk_watch_seconds)
        self._usages = UsageWatch(host)
        self._endpoints = MetricsWatch()
        self._flushes = Ticker("log flush", Attempt.flush_log, threads=FLUSH_THREADS)

    @activity.defn(name="hosts.describe")
    def describe(self) -> HostFacts:
        """The machine and its container engine."""
        return self._host.facts()

    @activity.defn(name="hosts.run_container", no_thread_cancel_exception=True)
    def run_container(self, run: RunContainer) -> AttemptResult:
        """Run one attempt to its end, or take up where an earlier try left it.

        A cancel stops the container (SIGTERM, SIGKILL after the grace), keeps its log, and ends
        with the result: whoever asked knows then that it runs no more. A worker that shuts down
        leaves the container running. One that was stopped because Temporal was out of reach is
        lost, whatever its exit code.
        """
        lease = self._leases.open(run, self._host.platform) if self._leases else None
        may_start = lease.check if lease else _unasked
        attempt = Attempt(self._host, self._store, run, self._means, may_start)
        tries = Tries.begun(attempt.has_run)
        with self._sole(attempt):
            try:
                result = self._execute(attempt, tries, lease)
            except Exception as error:
                if lease is not None:
                    self._give_back_unused(attempt, lease)
                tries.judge(error)
                raise
        return result if lease is None else self._released(lease, result)

    def _execute(self, attempt: Attempt, tries: Tries, lease: AttemptLease | None) -> AttemptResult:
        tries.begin(attempt.progress())
        pulse = Pulse(attempt, contextvars.copy_context(), tries, lease)
        with (
            self._pulses.watching(pulse),
            self._flushes.watching(attempt),
            self._disks.watching(attempt),
            self._usages.watching(attempt),
            self._endpoints.watching(attempt),
        ):
            if lease is not None:
                lease.take(tries.note(attempt.progress()))
            return attempt.execute()

    def _give_back_unused(self, attempt: Attempt, lease: AttemptLease) -> None:
        """End the lease of a try that failed and left nothing here: nobody else would."""
        try:
            there = self._host.list_ours()
            there += abandoned_volumes(self._host, there)
        except FleetwideError:
            return  # the guard asks again
        if any(key_from_labels(one.labels) == attempt.run.key for one in there):
            return
        with self._lock:
            if self._attempts.get(attempt.name) is attempt:  # else the next try holds it
                lease.close()

    def _released(self, lease: AttemptLease, result: AttemptResult) -> AttemptResult:
        """Give the lease back; tell of a fence, which the container's exit code does not."""
        if lease.fenced() and result.reason is not EndReason.LOST:
            message = "the host stopped it: Temporal was out of reach for too long"
            lost = {"reason": EndReason.LOST, "message": message}
            result = result.model_copy(update=lost)
            save_result(self._store, result)
        lease.close()
        return result

    @activity.defn(name="hosts.find_container")
    def find_container(self, wanted: FindContainer) -> FoundContainer:
        """Whether an attempt's main container runs here, and since when.

        Raises:
            ServiceUnavailable: it runs, but no activity here is at work on it yet, as was asked.
        """
        name = wanted.key.container_name()
        state = self._host.inspect(name)
        if state is None or state.status == "created" or state.over:
            return FoundContainer()
        if wanted.taken_up and not self._holds(name):
            raise ServiceUnavailable(f"nobody is at work on container {name} yet")
        return FoundContainer(running=True, started_at=state.started_at)

    @activity.defn(name="hosts.watch", no_thread_cancel_exception=True)
    async def watch(self) -> None:
        """Report this host's containers again and again, and remove those whose workflow is over.

        Ends only when cancelled; raises ``ServiceUnavailable`` when the worker shuts down.
        """
        try:
            await self._watch()
        except asyncio.CancelledError:
            if _cancel_requested():
                raise
        raise ServiceUnavailable(f"the worker of host {self._host.host_id} is shutting down")

    async def _watch(self) -> None:
        facts, pressure = await asyncio.to_thread(self._host.facts), ""
        since: dict[tuple[str, str], datetime] = {}
        images = HeldImages(self._host.held_images)
        async with self._reaping() as reap:
            while not activity.is_worker_shutdown():
                found = await asyncio.to_thread(self._host.list_ours)
                since = _since(found, since)
                report = self._report(facts.docker_version, found, since)
                held = await asyncio.to_thread(images.now)
                collected = self._images.last if self._images else None
                pressure = await asyncio.to_thread(self._pressure, facts.reserve.disk, pressure)
                more = {
                    "images": held,
                    "collected": collected,
                    "usages": self._usages.usages(),
                    "endpoints": self._endpoints.endpoints(),
                    "pressure": pressure,
                }
                activity.heartbeat(report.model_copy(update=more))
                reap(found)
                await _shutdown_or(self._settings.host_report_seconds)

    @asynccontextmanager
    async def _reaping(self) -> AsyncIterator[Callable[[list[ListedContainer]], None]]:
        """Reap beside the reports.

        What is deaf to SIGTERM takes its grace; a host that tells nothing meanwhile is silent.
        """
        task: asyncio.Task[None] | None = None
        due = monotonic()

        def reap(found: list[ListedContainer]) -> None:
            nonlocal task, due
            if monotonic() >= due and (task is None or task.done()):
                due = monotonic() + RECONCILE_SECONDS
                task = asyncio.create_task(self._reap(found))

        try:
            yield reap
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _reap(self, found: list[ListedContainer]) -> None:
        try:
            await self._reaper.reap(found, self._holds)
        except Exception:
            _log.exception("could not look for containers that nobody waits for")

    def _report(
        self,
        version: str,
        found: list[ListedContainer],
        since: dict[tuple[str, str], datetime],
    ) -> HostReport:
        with self._lock:
            held = dict(self._attempts)
        containers = [
            _report_of(key, container, held.get(container.name), since)
            for container in found
            if (key := key_from_labels(container.labels))
            and CONTAINER_LABEL not in container.labels
        ]
        there = {container.name for container in found}
        containers += [
            _without(one) for name, one in held.items() if name not in there and _begins(one)
        ]
        return HostReport(host_id=self._host.host_id, docker_version=version, containers=containers)

    def _pressure(self, reserve: int, before: str) -> str:
        room = self._images.room() if self._images else None
        if room is None:
            return ""
        free, total = room
        return disk_pressure(free, total, reserve, pressed=bool(before))

    def _means(self, host: ContainerHost) -> Means:
        return Means.of(host, self._settings)

    def _holds(self, name: str) -> bool:
        with self._lock:
            return name in self._attempts

    @contextmanager
    def _sole(self, attempt: Attempt) -> Iterator[None]:
        """Make ``attempt`` the only one here of its name.

        An activity that Temporal gave up on may still be at work when its retry arrives.
        """
        with self._lock:
            former = self._attempts.get(attempt.name)
            self._attempts[attempt.name] = attempt
        try:
            if former is not None:
                former.detach()
                former.wait_until_left(TAKE_OVER_SECONDS)
            yield
        finally:
            with self._lock:
                if self._attempts.get(attempt.name) is attempt:
                    del self._attempts[attempt.name]


def _unasked() -> None:
    """Where there are no leases, every start is allowed."""


def _cancel_requested() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


async def _shutdown_or(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(activity.wait_for_worker_shutdown(), seconds)


def _since(
    found: list[ListedContainer], known: dict[tuple[str, str], datetime]
) -> dict[tuple[str, str], datetime]:
    """When each container was first seen in its state."""
    now = datetime.now(UTC)
    states = [(container.id, container.status) for container in found]
    return {state: known.get(state, now) for state in states}


def _report_of(
    key: AttemptKey,
    container: ListedContainer,
    attempt: Attempt | None,
    since: dict[tuple[str, str], datetime],
) -> ContainerReport:
    """What Docker says of the container, and the attempt that holds it, if one does."""
    report = ContainerReport(
        key=key,
        state=TASK_STATES.get(container.status, TaskState.LAUNCHED),
        since=since[container.id, container.status],
    )
    if attempt is None:
        return report
    progress, reason = attempt.progress(), attempt.asked_to_end
    state = report.state
    if reason is not None and state is not TaskState.FINISHED:
        state = TaskState.KILL_INITIATED
    elif state is TaskState.LAUNCHED:
        state = TaskState.START_INITIATED
    more: dict[str, object] = {
        "health": progress.health,
        "extra_containers": progress.extra_containers,
    }
    if state is TaskState.KILL_INITIATED:
        more["since"] = datetime.now(UTC)
    return report.model_copy(update={"state": state, "reason": reason, **more})


def _begins(attempt: Attempt) -> bool:
    """Whether it is on its way to a container, and pulls its image for example."""
    return attempt.asked_to_end is None and attempt.progress().state is TaskState.LAUNCHED


def _without(attempt: Attempt) -> ContainerReport:
    state = TaskState.START_INITIATED
    return ContainerReport(key=attempt.run.key, state=state, since=datetime.now(UTC))

"""What a host worker does: run containers, describe its machine, watch its containers."""

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from time import monotonic

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.containers.launch import key_from_labels
from fleetwide.errors import FleetwideError, ServiceUnavailable
from fleetwide.models.containers import (
    AttemptKey,
    AttemptResult,
    ContainerReport,
    EndReason,
    HostReport,
    RunContainer,
    TaskState,
)
from fleetwide.models.hosts import HostFacts
from fleetwide.providers.attempts import Attempt
from fleetwide.providers.docker import ContainerHost, ListedContainer
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.orphans import salvage
from fleetwide.providers.ticker import Ticker
from fleetwide.settings import Settings

REPORT_SECONDS = 1.0
RECONCILE_SECONDS = 15.0
TAKE_OVER_SECONDS = 30.0
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


@dataclass(frozen=True)
class Pulse:
    """An attempt together with the activity that it belongs to."""

    attempt: Attempt
    context: contextvars.Context

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
        activity.heartbeat(self.attempt.progress())


class HostActivities:
    """The activities of one host worker.

    Without a ``client``, containers of closed workflows are not looked for.
    """

    def __init__(
        self,
        settings: Settings,
        host: ContainerHost,
        store: ObjectStore,
        client: Client | None = None,
    ) -> None:
        self._settings = settings
        self._host = host
        self._store = store
        self._client = client
        self._lock = Lock()
        self._attempts: dict[str, Attempt] = {}
        self._pulses = Ticker("pulse", Pulse.beat)
        self._flushes = Ticker("log flush", Attempt.flush_log)

    @activity.defn(name="hosts.describe")
    def describe(self) -> HostFacts:
        """The machine and its container engine."""
        return self._host.facts()

    @activity.defn(name="hosts.run_container", no_thread_cancel_exception=True)
    def run_container(self, run: RunContainer) -> AttemptResult:
        """Run one attempt to its end, or take up where an earlier try left it.

        A cancel stops the container (SIGTERM, SIGKILL 10 s later), keeps its log and result, and
        ends the activity as cancelled. A worker that shuts down leaves the container running.
        """
        attempt = Attempt(self._host, self._store, run)
        pulse = Pulse(attempt, contextvars.copy_context())
        with self._sole(attempt), self._pulses.watching(pulse), self._flushes.watching(attempt):
            result = attempt.execute()
        if attempt.asked_to_end is EndReason.KILLED:
            raise CancelledError(result.message)
        return result

    @activity.defn(name="hosts.watch", no_thread_cancel_exception=True)
    async def watch(self) -> None:
        """Report this host's containers each second, and remove those whose workflow is over.

        Ends only when cancelled; raises ``ServiceUnavailable`` when the worker shuts down.
        """
        try:
            await self._watch()
        except asyncio.CancelledError:
            if _cancel_requested():
                raise
        raise ServiceUnavailable(f"the worker of host {self._host.host_id} is shutting down")

    async def _watch(self) -> None:
        version = (await asyncio.to_thread(self._host.facts)).docker_version
        since: dict[tuple[str, str], datetime] = {}
        next_reconcile = monotonic()
        while not activity.is_worker_shutdown():
            found = await asyncio.to_thread(self._host.list_ours)
            since = _since(found, since)
            activity.heartbeat(self._report(version, found, since))
            if monotonic() >= next_reconcile:
                await self._reconcile(found)
                next_reconcile = monotonic() + RECONCILE_SECONDS
            await _shutdown_or(REPORT_SECONDS)

    def _report(
        self,
        version: str,
        found: list[ListedContainer],
        since: dict[tuple[str, str], datetime],
    ) -> HostReport:
        containers = [
            ContainerReport(
                key=key,
                state=TASK_STATES.get(container.status, TaskState.LAUNCHED),
                since=since[container.id, container.status],
            )
            for container in found
            if (key := key_from_labels(container.labels))
        ]
        return HostReport(host_id=self._host.host_id, docker_version=version, containers=containers)

    async def _reconcile(self, found: list[ListedContainer]) -> None:
        """Remove the containers that no activity here holds and no open workflow waits for."""
        over: dict[tuple[str, str], bool] = {}
        for container in found:
            attempt = key_from_labels(container.labels)
            if attempt is None or self._holds(container.name):
                continue
            run = (attempt.workflow_id, attempt.run_id)
            if run not in over:
                over[run] = await self._is_over(*run)
            if over[run]:
                await self._remove_orphan(container, attempt)

    async def _remove_orphan(self, container: ListedContainer, attempt: AttemptKey) -> None:
        _log.info("removing container %s: its workflow is over", container.name)
        try:
            await asyncio.to_thread(salvage, self._host, self._store, container, attempt)
        except FleetwideError:
            _log.warning("could not remove container %s yet", container.name, exc_info=True)

    async def _is_over(self, workflow_id: str, run_id: str) -> bool:
        """Whether the run is closed or unknown; False when Temporal cannot tell."""
        if self._client is None:
            return False
        try:
            status = await _status(self._client, workflow_id, run_id)
            if status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
                status = await _status(self._client, workflow_id, None)
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return status is not WorkflowExecutionStatus.RUNNING

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


def _cancel_requested() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


async def _shutdown_or(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(activity.wait_for_worker_shutdown(), seconds)


async def _status(
    client: Client, workflow_id: str, run_id: str | None
) -> WorkflowExecutionStatus | None:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    return (await handle.describe()).status


def _since(
    found: list[ListedContainer], known: dict[tuple[str, str], datetime]
) -> dict[tuple[str, str], datetime]:
    """When each container was first seen in its state."""
    now = datetime.now(UTC)
    states = [(container.id, container.status) for container in found]
    return {state: known.get(state, now) for state in states}

"""The client's methods, one per route, grouped by product."""

from collections.abc import Callable, Iterator, Mapping
from typing import Self, TypeVar

import httpx2

from fleetwide.client.bakery import BakeryClient
from fleetwide.client.capacity_groups import CapacityGroupClient
from fleetwide.client.discovery import DiscoveryClient
from fleetwide.client.disruptions import DisruptionClient
from fleetwide.client.errands import ErrandClient
from fleetwide.client.fleet import FleetClient
from fleetwide.client.metrics import MetricClient
from fleetwide.client.os import OSClient
from fleetwide.client.pools import PoolClient
from fleetwide.client.queues import CapacityRequestClient, QueueClient
from fleetwide.client.recipes import RecipeClient
from fleetwide.client.registry import RegistryClient
from fleetwide.client.registry_accounts import AccountClient
from fleetwide.client.registry_gc import UpkeepClient
from fleetwide.client.registry_regions import RegionClient
from fleetwide.client.services import ServiceClient
from fleetwide.client.task_queries import ALL_TASKS, TaskQuery, task_items
from fleetwide.client.transport import Query, Transport, segment
from fleetwide.client.worker_versions import WorkerVersionClient
from fleetwide.models.batch import BatchJobSpec, Child
from fleetwide.models.batch_control import (
    CancelChildren,
    ChildrenCancelled,
    HoldRequest,
    ReleaseRequest,
    ResizeRequest,
)
from fleetwide.models.containers import ContainerTaskSpec, KillRequest
from fleetwide.models.documents import (
    EventDocument,
    Health,
    HostDocument,
    JobDocument,
    LogChunk,
    LogEnd,
    Operation,
    Page,
    StreamCursor,
    TaskChange,
    TaskDocument,
)
from fleetwide.models.scheduler_documents import SchedulerDocument
from fleetwide.models.task_kills import TaskKill
from fleetwide.providers.api_logins import LoginAuth, login_for
from fleetwide.providers.registry_auth import Credentials
from fleetwide.settings import get_settings

Item = TypeVar("Item")


class Client:
    """The API as Python. Use it as a context manager, or call ``close``."""

    def __init__(
        self,
        api_url: str | None = None,
        *,
        http: httpx2.Client | None = None,
        login: Credentials | None = None,
    ) -> None:
        """``login`` is the registry account; unset means what is known for the API.

        A client of one's own (``http``) brings what it logs in with itself.
        """
        settings = get_settings()
        self.address = api_url or settings.api_url
        if login is None and http is None:
            login = login_for(self.address, settings)
        auth = None if login is None else LoginAuth(login)
        self._transport = Transport(self.address, http, auth)
        self.os = OSClient(self._transport)
        self.bakery = BakeryClient(self._transport)
        self.capacity_groups = CapacityGroupClient(self._transport)
        self.pools = PoolClient(self._transport)
        self.recipes = RecipeClient(self._transport)
        self.tasks = TaskClient(self._transport)
        self.services = ServiceClient(self._transport)
        self.fleet = FleetClient(self._transport)
        self.errands = ErrandClient(self._transport)
        self.discovery = DiscoveryClient(self._transport)
        self.metrics = MetricClient(self._transport)
        self.disruptions = DisruptionClient(self._transport)
        self.jobs = JobClient(self._transport)
        self.queues = QueueClient(self._transport)
        self.capacity_requests = CapacityRequestClient(self._transport)
        self.registry = RegistryClient(self._transport)
        self.upkeep = UpkeepClient(self._transport)
        self.regions = RegionClient(self._transport)
        self.accounts = AccountClient(self._transport)
        self.worker_versions = WorkerVersionClient(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def hosts(self) -> Page[HostDocument]:
        return self._transport.get("/v1/hosts", Page[HostDocument])

    def host(self, host_id: str) -> HostDocument:
        """One host, with its machine and the images that it holds."""
        return self._transport.get(f"/v1/hosts/{segment(host_id)}", HostDocument)

    def scheduler(self) -> SchedulerDocument:
        """Who places work now."""
        return self._transport.get("/v1/scheduler", SchedulerDocument)

    def operation(self, workflow_id: str) -> Operation:
        """Any workflow: its status, and its result or failure."""
        return self._transport.get(f"/v1/operations/{segment(workflow_id)}", Operation)

    def events(
        self, cursor: int = 0, *, subject: str | None = None, limit: int = 50
    ) -> Page[EventDocument]:
        query: Query = {"cursor": cursor, "subject": subject, "limit": limit}
        return self._transport.get("/v1/events", Page[EventDocument], query)

    def follow_events(
        self, cursor: int = 0, *, subject: str | None = None
    ) -> Iterator[EventDocument]:
        """Events as they happen, without end."""
        query: Query = {"cursor": cursor, "subject": subject}
        for event in self._transport.events("/v1/events", query):
            yield EventDocument.model_validate_json(event.data)

    def health(self) -> Health:
        """What answers and what does not; an unhealthy platform is an answer too."""
        return self._transport.get("/healthz", Health, also=frozenset({503}))


class TaskClient:
    """Container tasks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def run(
        self, spec: ContainerTaskSpec, *, idempotency_key: str | None = None, wait: float = 0
    ) -> Operation:
        return self._transport.post(
            "/v1/tasks", Operation, wait=wait, headers=_key(idempotency_key), body=spec
        )

    def list(
        self, wanted: TaskQuery = ALL_TASKS, *, cursor: str | None = None, limit: int = 50
    ) -> Page[TaskDocument]:
        """Tasks, newest first, those in the archive too."""
        query: Query = {**wanted.query(), "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/tasks", Page[TaskDocument], query)

    def follow(
        self, wanted: TaskQuery = ALL_TASKS, *, cursor: int | None = None
    ) -> Iterator[TaskDocument | StreamCursor | TaskChange]:
        """Live tasks, a cursor when these have all been told, then changes without end.

        A cursor comes also when nothing has happened for a while. With ``cursor`` only the
        changes behind it are told.
        """
        return task_items(self._transport, wanted.query(), cursor)

    def get(self, task_id: str) -> TaskDocument:
        return self._transport.get(self._path(task_id), TaskDocument)

    def cancel(self, task_id: str, reason: str, *, by: str = "", now: bool = False) -> TaskDocument:
        """Stop it; a copy of a service leaves its load balancers first, unless it is ``now``."""
        body = TaskKill(reason=reason, by=by, now=now)
        return self._transport.post(f"{self._path(task_id)}/cancel", TaskDocument, body=body)

    def logs(
        self,
        task_id: str,
        *,
        tail: int | None = None,
        attempt: int | None = None,
        container: str | None = None,
    ) -> str:
        """The log of the main container, or of an extra one."""
        query: Query = {"tail": tail, "attempt": attempt, "container": container}
        return self._transport.text(f"{self._path(task_id)}/logs", query)

    def follow_logs(
        self, task_id: str, *, container: str | None = None
    ) -> Iterator[LogChunk | LogEnd]:
        """The log as it grows; the last item is the attempt's end."""
        query: Query = {"container": container}
        return _log_items(self._transport, f"{self._path(task_id)}/logs", query)

    def _path(self, task_id: str) -> str:
        return f"/v1/tasks/{segment(task_id)}"


class JobClient:
    """Batch jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(
        self, spec: BatchJobSpec, *, idempotency_key: str | None = None, wait: float = 0
    ) -> Operation:
        return self._transport.post(
            "/v1/batch/jobs", Operation, wait=wait, headers=_key(idempotency_key), body=spec
        )

    def list(
        self,
        *,
        app: str | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[JobDocument]:
        query: Query = {"app": app, "label": _labels(labels), "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/batch/jobs", Page[JobDocument], query)

    def get(self, job_id: str) -> JobDocument:
        return self._transport.get(self._path(job_id), JobDocument)

    def children(self, job_id: str, *, cursor: str | None = None, limit: int = 200) -> Page[Child]:
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(f"{self._path(job_id)}/children", Page[Child], query)

    def hold(
        self, job_id: str, reason: str, *, by: str = "", stop_running: bool = False
    ) -> JobDocument:
        """Let it ask for no more hosts until it is released."""
        body = HoldRequest(reason=reason, by=by, stop_running=stop_running)
        return self._transport.post(f"{self._path(job_id)}/hold", JobDocument, body=body)

    def release(self, job_id: str, reason: str = "released", *, by: str = "") -> JobDocument:
        """Let it go on after a hold."""
        body = ReleaseRequest(reason=reason, by=by)
        return self._transport.post(f"{self._path(job_id)}/release", JobDocument, body=body)

    def resize(self, job_id: str, request: ResizeRequest) -> JobDocument:
        """Set how many children a job has that accumulates, or close it."""
        return self._transport.post(f"{self._path(job_id)}/resize", JobDocument, body=request)

    def cancel_children(self, job_id: str, request: CancelChildren) -> ChildrenCancelled:
        """Cancel some children; the others go on."""
        path = f"{self._path(job_id)}/children/cancel"
        return self._transport.post(path, ChildrenCancelled, body=request)

    def logs(
        self, job_id: str, index: int, *, tail: int | None = None, attempt: int | None = None
    ) -> str:
        query: Query = {"tail": tail, "attempt": attempt}
        return self._transport.text(f"{self._path(job_id)}/children/{index}/logs", query)

    def follow_logs(self, job_id: str, index: int) -> Iterator[LogChunk | LogEnd]:
        return _log_items(self._transport, f"{self._path(job_id)}/children/{index}/logs")

    def cancel(self, job_id: str, reason: str) -> JobDocument:
        body = KillRequest(reason=reason)
        return self._transport.post(f"{self._path(job_id)}/cancel", JobDocument, body=body)

    def _path(self, job_id: str) -> str:
        return f"/v1/batch/jobs/{segment(job_id)}"


def every(page: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
    """All items of a listing, page after page."""
    cursor: str | None = None
    while True:
        got = page(cursor)
        yield from got.items
        cursor = got.next
        if cursor is None:
            return


def _labels(labels: Mapping[str, str] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (labels or {}).items()]


def _key(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key} if idempotency_key else {}


def _log_items(
    transport: Transport, path: str, query: Query | None = None
) -> Iterator[LogChunk | LogEnd]:
    for event in transport.events(path, query):
        if event.event == "log":
            yield LogChunk.model_validate_json(event.data)
        elif event.event == "end":
            yield LogEnd.model_validate_json(event.data)
            return

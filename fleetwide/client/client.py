"""The client's methods, one per route, grouped by product."""

from collections.abc import Callable, Iterator
from typing import Self, TypeVar

import httpx2

from fleetwide.client.bakery import BakeryClient
from fleetwide.client.os import OSClient
from fleetwide.client.recipes import RecipeClient
from fleetwide.client.registry import RegistryClient
from fleetwide.client.registry_accounts import AccountClient
from fleetwide.client.registry_gc import UpkeepClient
from fleetwide.client.registry_regions import RegionClient
from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.batch import BatchJobSpec, Child
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
    TaskDocument,
)
from fleetwide.settings import get_settings

Item = TypeVar("Item")


class Client:
    """The API as Python. Use it as a context manager, or call ``close``."""

    def __init__(self, api_url: str | None = None, *, http: httpx2.Client | None = None) -> None:
        self.address = api_url or get_settings().api_url
        self._transport = Transport(self.address, http)
        self.os = OSClient(self._transport)
        self.bakery = BakeryClient(self._transport)
        self.recipes = RecipeClient(self._transport)
        self.tasks = TaskClient(self._transport)
        self.jobs = JobClient(self._transport)
        self.registry = RegistryClient(self._transport)
        self.upkeep = UpkeepClient(self._transport)
        self.regions = RegionClient(self._transport)
        self.accounts = AccountClient(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def hosts(self) -> Page[HostDocument]:
        return self._transport.get("/v1/hosts", Page[HostDocument])

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
        self,
        *,
        app: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[TaskDocument]:
        query: Query = {"app": app, "state": state, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/tasks", Page[TaskDocument], query)

    def get(self, task_id: str) -> TaskDocument:
        return self._transport.get(self._path(task_id), TaskDocument)

    def cancel(self, task_id: str, reason: str) -> TaskDocument:
        body = KillRequest(reason=reason)
        return self._transport.post(f"{self._path(task_id)}/cancel", TaskDocument, body=body)

    def logs(self, task_id: str, *, tail: int | None = None, attempt: int | None = None) -> str:
        query: Query = {"tail": tail, "attempt": attempt}
        return self._transport.text(f"{self._path(task_id)}/logs", query)

    def follow_logs(self, task_id: str) -> Iterator[LogChunk | LogEnd]:
        """The log as it grows; the last item is the attempt's end."""
        return _log_items(self._transport, f"{self._path(task_id)}/logs")

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
        self, *, app: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[JobDocument]:
        query: Query = {"app": app, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/batch/jobs", Page[JobDocument], query)

    def get(self, job_id: str) -> JobDocument:
        return self._transport.get(self._path(job_id), JobDocument)

    def children(self, job_id: str, *, cursor: str | None = None, limit: int = 200) -> Page[Child]:
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(f"{self._path(job_id)}/children", Page[Child], query)

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


def _key(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key} if idempotency_key else {}


def _log_items(transport: Transport, path: str) -> Iterator[LogChunk | LogEnd]:
    for event in transport.events(path):
        if event.event == "log":
            yield LogChunk.model_validate_json(event.data)
        elif event.event == "end":
            yield LogEnd.model_validate_json(event.data)
            return

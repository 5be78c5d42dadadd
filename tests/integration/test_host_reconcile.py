"""Containers whose workflow is over are removed; the evidence stays. On a real Temporal server."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.hosts import HostActivities
from fleetwide.models.containers import AttemptKey, RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers import attempts
from fleetwide.providers.attempt_logs import tail_lines
from fleetwide.providers.attempt_results import load_result
from fleetwide.providers.attempts import Attempt
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs, temporal_program

pytestmark = pytest.mark.integration


@pytest.fixture
async def client() -> AsyncIterator[Client]:

    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_program()
    ) as server:
        yield server.client


async def abandoned(
    client: Client, runs: Runs, host: ContainerHost, store: FolderStore
) -> RunContainer:
    """A running container of an open workflow, let go by its worker."""
    handle = await client.start_workflow("Any", id=f"task/{uuid.uuid4()}", task_queue="nobody")
    assert handle.first_execution_run_id
    key = AttemptKey(workflow_id=handle.id, run_id=handle.first_execution_run_id)
    run = runs.shell("echo up; exec sleep 600").model_copy(update={"key": key})
    attempt = Attempt(host, store, run)
    working = asyncio.create_task(asyncio.to_thread(attempt.execute))
    while not attempt.progress().log_bytes:
        assert not working.done()
        await asyncio.sleep(0.01)
    attempt.detach()
    with pytest.raises(Exception, match="let go"):
        await working
    return run


async def watch_until_left(
    activities: HostActivities, host: ContainerHost, names: list[str]
) -> None:
    """Watch until these containers, and no others, are left."""
    environment = ActivityEnvironment()
    watch = asyncio.create_task(environment.run(activities.watch))
    while [found.name for found in await asyncio.to_thread(host.list_ours)] != names:
        assert not watch.done()
        await asyncio.sleep(0.05)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_only_containers_of_closed_workflows_are_removed(
    client: Client,
    runs: Runs,
    host_settings: Settings,
    container_host: ContainerHost,
    object_store: FolderStore,
) -> None:
    activities = HostActivities(host_settings, container_host, object_store, client)
    open_run = await abandoned(client, runs, container_host, object_store)
    closed_run = await abandoned(client, runs, container_host, object_store)
    await client.get_workflow_handle(closed_run.key.workflow_id).terminate()
    await watch_until_left(activities, container_host, [open_run.key.container_name()])
    kept = load_result(object_store, closed_run.key)
    assert kept
    assert kept.reason is EndReason.KILLED
    assert tail_lines(object_store, closed_run.key.log_key(), 1) == ["up"]

    await client.get_workflow_handle(open_run.key.workflow_id).terminate()
    await watch_until_left(activities, container_host, [])


async def test_the_start_is_a_span_below_the_activitys(
    runs: Runs,
    container_host: ContainerHost,
    object_store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(attempts, "_tracer", provider.get_tracer("test"))
    run = runs.shell("true")
    with provider.get_tracer("test").start_as_current_span("activity") as parent:
        await asyncio.to_thread(Attempt(container_host, object_store, run).execute)
    start = next(span for span in exporter.get_finished_spans() if span.name == "container start")
    assert start.parent
    assert start.parent.span_id == parent.get_span_context().span_id
    assert start.attributes
    assert start.attributes["container.name"] == run.key.container_name()
    assert start.attributes["container.image.name"] == run.image
    assert start.attributes["fleetwide.host"] == container_host.host_id
    assert trace.get_current_span().get_span_context().span_id == 0
    provider.shutdown()

"""``hosts.run_container`` in a real worker of a real Temporal server."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import docker
import pytest
from temporalio.client import ActivityHandle, Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.hosts import HostActivities
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import tail_lines
from fleetwide.providers.attempt_results import load_result
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs, temporal_program

pytestmark = pytest.mark.integration
QUEUE = "host.test"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_program(), data_converter=pydantic_data_converter
    ) as server:
        yield server.client


@pytest.fixture
def activities(
    host_settings: Settings, container_host: ContainerHost, object_store: FolderStore
) -> HostActivities:
    return HostActivities(host_settings, container_host, object_store)


@asynccontextmanager
async def worker(client: Client, activities: HostActivities) -> AsyncIterator[None]:
    with ThreadPoolExecutor(4) as pool:
        async with Worker(
            client,
            task_queue=QUEUE,
            activities=[activities.run_container],
            activity_executor=pool,
            max_heartbeat_throttle_interval=timedelta(seconds=1),
            graceful_shutdown_timeout=timedelta(seconds=20),
        ):
            yield


async def start(
    client: Client, activities: HostActivities, run: RunContainer
) -> ActivityHandle[AttemptResult]:
    return await client.start_activity(
        activities.run_container,
        run,
        id=str(uuid.uuid4()),
        task_queue=QUEUE,
        start_to_close_timeout=timedelta(minutes=5),
        heartbeat_timeout=timedelta(seconds=10),
    )


async def until_logged(store: FolderStore, run: RunContainer) -> None:
    while not tail_lines(store, run.key.log_key(), 1):  # noqa: ASYNC110  # it lies in a file
        await asyncio.sleep(0.05)


async def test_a_cancel_reaches_the_container(
    client: Client, activities: HostActivities, runs: Runs, object_store: FolderStore
) -> None:
    run = runs.shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done")
    async with worker(client, activities):
        handle = await start(client, activities, run)
        await until_logged(object_store, run)
        await handle.cancel()
        assert (await handle.result()).reason is EndReason.KILLED
    kept = load_result(object_store, run.key)
    assert kept
    assert (kept.reason, kept.exit_code) == (EndReason.KILLED, 3)


async def test_a_worker_that_leaves_hands_its_container_to_the_next(
    client: Client,
    activities: HostActivities,
    runs: Runs,
    object_store: FolderStore,
    docker_api: docker.APIClient,
) -> None:
    run = runs.shell("echo up; while [ ! -e /go ]; do sleep 0.1; done; echo done")
    async with worker(client, activities):
        handle = await start(client, activities, run)
        await until_logged(object_store, run)
    assert load_result(object_store, run.key) is None
    let_go = docker_api.exec_create(run.key.container_name(), ["/bin/sh", "-c", ": > /go"])
    docker_api.exec_start(let_go["Id"])
    async with worker(client, activities):
        result = await handle.result()
    assert result.reason is EndReason.NORMAL
    assert tail_lines(object_store, run.key.log_key(), 5) == ["up", "done"]

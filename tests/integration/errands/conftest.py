"""A running container on the real dockerd, known as a task's, with all that errands need around it.

Temporal, SQL, the object store, the control side of errands, the host's errand worker and the API
are real; only the placement of the task was done by hand.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.errands import ErrandActivities, HostErrandActivities
from api.app import create_app
from fleetwide.client import Client as ApiClient
from fleetwide.containers.launch import create_request
from fleetwide.models.containers import AttemptRequest, JobHeader, JobKind, RunContainer
from fleetwide.models.errands import errand_task_queue
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import TaskState
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from fleetwide.store import jobs
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.integration.containers_fixtures import Runs, TinyRegistry, free_port, temporal_program
from workflows.errands import TaskErrand

SCRIPT = "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"


class ErrandPlane:
    """Temporal and the two workers of errands, in a thread with a loop of its own."""

    def __init__(self, settings: Settings, store: Store, objects: FolderStore) -> None:
        self.settings = settings
        self.store = store
        self.objects = objects
        self.host = ContainerHost.from_settings(settings)
        self.client: Client
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="errand plane")

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self.host.close()

    def call(self, work: Any) -> Any:
        """Run a coroutine in the plane's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        host = HostErrandActivities(self.host, self.objects)
        control = ErrandActivities(self.store, self.objects)
        async with AsyncExitStack() as stack:
            environment = await stack.enter_async_context(
                await WorkflowEnvironment.start_local(
                    dev_server_existing_path=temporal_program(),
                    data_converter=data_converter,
                    search_attributes=ALL,
                )
            )
            self.client = environment.client
            queue = errand_task_queue(self.settings.host_id)
            for role in (
                WorkerRole("control", workflows=[TaskErrand], activities=[control.place_errand]),
                WorkerRole(queue, activities=[host.run_errand]),
            ):
                await stack.enter_async_context(make_worker(self.client, role))
            self._ready.set()
            await self._stop.wait()


class RunningTask:
    """The one task that runs."""

    def __init__(self, plane: ErrandPlane, run: RunContainer, name: str) -> None:
        self.plane = plane
        self.run = run
        self.id = run.key.workflow_id.removeprefix("task/")
        self.name = name


@pytest.fixture(scope="module")
def plane(
    tmp_path_factory: pytest.TempPathFactory, tiny_registry: TinyRegistry
) -> Iterator[ErrandPlane]:
    folder = tmp_path_factory.mktemp("errands")
    settings = Settings(
        state_dir=folder / "state",
        database_url=SecretStr(f"sqlite:///{folder}/fleetwide.db"),
        object_store_url=f"file:{folder}/objects",
        registry_url=tiny_registry.url,
        registry_auth="off",
        host_id=f"errands-{uuid.uuid4().hex[:8]}",
    )
    store = Store.open(settings.database_url.get_secret_value())
    upgrade(store.engine)
    running = ErrandPlane(settings, store, FolderStore(folder / "objects"))
    running.start()
    yield running
    running.close()
    store.engine.dispose()


@pytest.fixture(scope="module")
def api_url(plane: ErrandPlane) -> Iterator[str]:
    """The API as people reach it: streams come as they are written."""
    address = plane.client.service_client.config.target_host
    settings = plane.settings.model_copy(update={"temporal_address": address})
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), port=port, log_level="warning", lifespan="on")
    )
    serving = threading.Thread(target=server.run, name="api")
    serving.start()
    while not server.started:
        assert serving.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    serving.join(30)


@pytest.fixture
def http(api_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=api_url) as client:
        yield client


@pytest.fixture
def api(api_url: str) -> Iterator[ApiClient]:
    with ApiClient(api_url) as client:
        yield client


@pytest.fixture
def task(plane: ErrandPlane, tiny_registry: TinyRegistry) -> Iterator[RunningTask]:
    """A task whose container runs and waits."""
    run = Runs(tiny_registry.image, plane.settings.host_id).shell(
        SCRIPT, resources={"cpu": 0.5, "memory": "64MiB"}
    )
    book(plane, run)
    with running(plane, run) as found:
        yield found


@contextmanager
def running(plane: ErrandPlane, run: RunContainer, **host_config: Any) -> Iterator[RunningTask]:
    """The container of a task, started by hand."""
    image = plane.host.image_name(run.image)
    plane.host.pull(image, lambda _: True)
    name = run.key.container_name()
    body = create_request(run, image, plane.host.platform)
    body["HostConfig"].update(host_config)
    made = plane.host.create(name, body)
    assert made
    plane.host.start(made.id)
    try:
        yield RunningTask(plane, run, name)
    finally:
        plane.host.remove(name)


def book(plane: ErrandPlane, run: RunContainer) -> None:
    """Rows that say that the task runs on this host."""
    header = JobHeader(
        workflow_id=run.key.workflow_id,
        run_id=run.key.run_id,
        kind=JobKind.TASK,
        app=run.app,
        container=run.container,
        retry=RetryPolicy(),
    )
    now = datetime.now(UTC)
    with plane.store.write() as session:
        job = jobs.ensure(session, header, run.image, now=now)
        waiter = jobs.ensure_waiter(session, job, run.key.run_id, "1", now=now)
        [row] = jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=now)
        row.host_id, row.state, row.reserved = run.host_id, TaskState.STARTED, True
        session.add(row)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

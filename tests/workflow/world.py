"""A control plane around the workflows under test: real Temporal, SQL, activities and placement.

Only what needs root, Docker or AWS is scripted: the container host, the builder and EC2.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec
from uuid import uuid4

from temporalio import activity
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment

from activities.bake_amis import BakedAmiActivities
from activities.baseos_amis import AmiActivities
from api.lifecycles import despite_lost_tasks
from fleetwide.errors import ImageNotFound
from fleetwide.models.containers import AttemptResult, KillRequest, RunContainer
from fleetwide.models.hosts import HostFacts, HostSpec
from fleetwide.models.task_states import EndReason
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference
from fleetwide.settings import Settings
from fleetwide.store import hosts
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.baked_clouds import BakedCloud
from tests.workflow.clouds import ScriptedCloud
from tests.workflow.scripted import Script, ScriptedArchives, ScriptedBuilder
from tests.workflow.scripted_bakes import ScriptedBakes
from workers.placing import Placer
from workers.registry import WORKFLOWS, control_activities

BIN = Path(sys.executable).parent
HOST = "h1"
HOST_CPU = 2.0
IMAGE = "apps/hello:1.0.0"
DIGEST = digest_of(b"hello")
SIGTERM = 143
DYNAMIC = (
    "history.transferProcessorMaxPollRPS=1000",
    "history.timerProcessorMaxPollRPS=1000",
    'history.timerProcessorMaxTimeShift="10ms"',
)


@dataclass
class ScriptedHost:
    """Acts out containers by the words of their command, and remembers what ran."""

    runs: list[tuple[int, int]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    silent: bool = False
    asked_to_stop: int = 0
    ran_for: timedelta = timedelta(0)
    """How long containers are said to have run."""
    stubborn: asyncio.Event = field(default_factory=asyncio.Event)
    """What is stubborn ends only when this is set."""

    @activity.defn(name="hosts.run_container")
    async def run_container(self, run: RunContainer) -> AttemptResult:
        self.runs.append((run.key.index, run.key.attempt))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            ended = _ended(run, await self._act(run))
            return ended.model_copy(update={"started_at": datetime.now(UTC) - self.ran_for})
        except CancelledError:
            return _ended(run, SIGTERM).model_copy(update={"reason": EndReason.KILLED})
        finally:
            self.running -= 1

    async def _act(self, run: RunContainer) -> int:
        word, *rest = run.container.command or ["exit", "0"]
        first = run.key.attempt == 1
        if word == "plan":  # what each attempt does
            word, *rest = rest[run.key.attempt - 1].split()
        if word == "pull" or (word == "unpullable" and first):
            raise ApplicationError("no route", type="ImagePullFailed", non_retryable=True)
        sleeps_first = word == "sleep-once" and first
        if word == "sleep" or sleeps_first or (word == "even" and run.key.index % 2 == 0):
            await self._sleep()
        if word == "deserter":
            await self._desert()
        if word == "stubborn":
            await self._sleep_on()
        if word == "brief":
            await asyncio.sleep(0.05)
        if word == "flaky":
            return int(first and run.key.index % 5 == 0)
        if word in ("odd", "even"):
            return run.key.index % 2
        return int(rest[0]) if word == "exit" else 0

    async def _sleep(self) -> None:
        while True:
            activity.heartbeat()
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                raise CancelledError("stopped") from None

    async def _desert(self) -> None:
        """Fail instead of stopping, as a worker that is restarted at that moment."""
        try:
            await self._sleep()
        except CancelledError:
            raise ApplicationError("the worker is gone", type="ServiceUnavailable") from None

    async def _sleep_on(self) -> None:
        try:
            await self._sleep()
        except CancelledError:
            self.asked_to_stop += 1
            while not self.stubborn.is_set():
                activity.heartbeat()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.05)
            raise

    @activity.defn(name="hosts.describe")
    async def describe(self) -> HostFacts:
        return HostFacts(
            host_id=HOST,
            docker_version="27.0",
            os="Debian",
            kernel="6",
            architecture="x86_64",
            cpus=2,
            memory=4 * 1024**3,
        )

    @activity.defn(name="hosts.watch")
    async def watch(self) -> None:
        while not self.silent:
            activity.heartbeat()
            await asyncio.sleep(0.05)
        self.silent = False
        raise ApplicationError("the worker is shutting down", type="ServiceUnavailable")


def _ended(run: RunContainer, code: int) -> AttemptResult:
    return AttemptResult(
        key=run.key,
        host_id=run.host_id,
        reason=EndReason.FAILED if code else EndReason.NORMAL,
        message=f"exit code {code}",
        exit_code=code,
        finished_at=datetime.now(UTC),
        log_key=run.key.log_key(),
    )


def _resolve(reference: ImageReference) -> str:
    if reference.repository == "apps/nothing":
        raise ImageNotFound(f"{reference} is not in the registry")
    return DIGEST


@dataclass
class World:
    """What a test has at hand."""

    client: Client
    store: Store
    host: ScriptedHost
    builder: ScriptedBuilder
    cloud: ScriptedCloud
    archives: ScriptedArchives
    bakes: ScriptedBakes
    baked: BakedCloud
    environment: WorkflowEnvironment
    placing: asyncio.Task[None]
    """The scheduler. It shares the test's loop: who keeps the database to itself cancels it."""

    async def start(self, type_: str, spec: Any, workflow_id: str) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(type_, spec, id=workflow_id, task_queue="control")

    async def kill(self, handle: WorkflowHandle[Any, Any], reason: str) -> Any:
        """Send the kill as the API does: again when it went down with its workflow task."""
        kill, update_id = KillRequest(reason=reason), uuid4().hex
        return await despite_lost_tasks(lambda: handle.execute_update("kill", kill, id=update_id))

    async def until_status(
        self, handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus
    ) -> None:
        async def reached() -> bool:
            return (await handle.describe()).status is status

        await self.until(reached)

    async def until(self, condition: Any) -> Any:
        """The first true answer of a condition, awaited when it can be."""
        async with asyncio.timeout(120):
            while True:
                answer = condition()
                answer = await answer if asyncio.iscoroutine(answer) else answer
                if answer:
                    return answer
                await asyncio.sleep(0.02)

    def reserved(self) -> dict[str, tuple[int, int]]:
        with self.store.read() as session:
            return hosts.reserved(session)


@asynccontextmanager
async def world(
    folder: Path, *, skipping: bool = False, dynamic: tuple[str, ...] = ()
) -> AsyncIterator[World]:
    """Bring everything up on a dev server, or on the time-skipping server."""
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(await _environment(skipping, dynamic))
        store = Store.open(f"sqlite:///{folder / uuid4().hex}.db")
        stack.callback(store.engine.dispose)
        upgrade(store.engine)
        with store.write() as session:
            spec = HostSpec.model_validate({"host_id": HOST, "cpu": HOST_CPU, "memory": "4GiB"})
            hosts.register(session, spec, now=datetime.now(UTC))
        registry = create_autospec(RegistryClient, instance=True)
        registry.resolve.side_effect = _resolve
        host, builder = ScriptedHost(), ScriptedBuilder()
        cloud = ScriptedCloud(steps=builder.steps)  # one order of all steps
        archives = ScriptedArchives(builder=builder)
        bakes = ScriptedBakes(builder.fail_at, builder.stuck_at, builder.deaf_at, builder.steps)
        baked = BakedCloud(cloud.fail_at, cloud.stuck_at, cloud.deaf_at, builder.steps)
        control = control_activities(Settings(), store, registry)
        roles = (
            WorkerRole("control", WORKFLOWS, with_cloud(control, cloud, baked)),
            WorkerRole("builder", activities=[
                *builder.activities(), *archives.activities(), *bakes.activities(),
            ]),
            WorkerRole(f"host.{HOST}", activities=[
                host.run_container, host.describe, host.watch,
            ]),
        )  # fmt: skip
        for role in roles:
            await stack.enter_async_context(make_worker(environment.client, role))
        placing = asyncio.create_task(_place(Placer(store, environment.client)))
        stack.callback(placing.cancel)
        yield World(
            environment.client, store, host, builder, cloud, archives, bakes, baked, environment,
            placing,
        )  # fmt: skip


def with_cloud(control: list[Callable[..., Any]], *clouds: Script) -> list[Callable[..., Any]]:
    """The control activities, with those that need EC2 replaced."""
    real = (AmiActivities, BakedAmiActivities)
    ours = [one for one in control if not isinstance(one.__self__, real)]  # type: ignore[attr-defined]
    return [*ours, *(one for cloud in clouds for one in cloud.activities())]


async def _environment(skipping: bool, dynamic: tuple[str, ...]) -> WorkflowEnvironment:
    if skipping:
        environment = await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(BIN / "temporal-test-server"),
            data_converter=data_converter,
        )
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=environment.client.namespace,
                search_attributes={key.name: keyword for key in ALL},
            )
        )
        return environment
    return await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BIN / "temporal"),
        data_converter=data_converter,
        search_attributes=ALL,
        dev_server_extra_args=[
            word for value in (*DYNAMIC, *dynamic) for word in ("--dynamic-config-value", value)
        ],
    )


async def _place(placer: Placer) -> None:
    while True:
        await placer.tick()
        await asyncio.sleep(0.02)


def task(*command: str, cpu: float = 0.5, **more: Any) -> dict[str, Any]:
    """The input of a ``ContainerTask`` as people write it."""
    container = {
        "image": more.pop("image", IMAGE),
        "command": list(command),
        "resources": {"cpu": cpu, "memory": "16MiB"},
    }
    return {"app": "hello", "owner": "team", "container": container, **more}


def job(*command: str, size: int, **more: Any) -> dict[str, Any]:
    """The input of a ``BatchJob`` as people write it."""
    return task(*command, size=size, **more)

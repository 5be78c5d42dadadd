"""What the benchmarks of real containers share: the same ones through us and through Docker."""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from docker import APIClient
from temporalio.client import Client as TemporalClient

from benchmarks.harness import RunningPlatform
from fleetwide.client import Client
from fleetwide.containers.launch import create_request
from fleetwide.models.baseos import OSImageSpec, Variant
from fleetwide.models.containers import AttemptKey, ContainerTaskSpec, RunContainer
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect


def build_base(running: RunningPlatform) -> str:
    """A small OS release to run; returns its reference."""
    spec = OSImageSpec(name="bench", version="1", suite="bookworm", variant=Variant.ESSENTIAL)
    with Client(running.url("api")) as client:
        client.os.build(spec, wait=280)
        return client.os.get("bench", "1").reference


def task(image: str, *command: str) -> ContainerTaskSpec:
    """A small container that runs the command."""
    return ContainerTaskSpec.model_validate(
        {
            "app": "noop",
            "container": {
                "image": image,
                "command": command,
                "resources": {"cpu": 0.25, "memory": "32MiB"},
            },
        }
    )


class Fleetwide:
    """Our side: a Temporal client starts the workflows and awaits their results."""

    def __init__(self, running: RunningPlatform, spec: ContainerTaskSpec, parallel: int) -> None:
        self.address = running.config.temporal.address
        self.spec = spec
        self.parallel = parallel

    def run(self, count: int) -> float:
        return asyncio.run(self._run(count))

    async def _run(self, count: int) -> float:
        client = await connect(Settings(temporal_address=self.address))
        turns = asyncio.Semaphore(self.parallel)
        started = time.perf_counter()
        await asyncio.gather(*(self._one(client, turns) for _ in range(count)))
        return time.perf_counter() - started

    async def _one(self, client: TemporalClient, turns: asyncio.Semaphore) -> None:
        async with turns:
            await client.execute_workflow(
                "ContainerTask", self.spec, id=f"task/{uuid.uuid4()}", task_queue="control"
            )


class BareDocker:
    """The baseline: the very same create request, without anything around it."""

    def __init__(self, running: RunningPlatform, spec: ContainerTaskSpec, parallel: int) -> None:
        self.api = APIClient(timeout=60)
        self.parallel = parallel
        self.body = self._body(running, spec, spec.container.image)

    def _body(
        self, running: RunningPlatform, spec: ContainerTaskSpec, image: str
    ) -> dict[str, Any]:
        run = RunContainer(
            key=AttemptKey(workflow_id="task/bare", run_id="bare"),
            host_id="local",
            app=spec.app,
            image=image,
            container=spec.container,
        )
        host = running.url("registry").partition("://")[2]
        return create_request(run, f"{host}/{image}", platform="bare")

    def run(self, count: int) -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(self.parallel) as pool:
            list(pool.map(self._one, range(count)))
        return time.perf_counter() - started

    def _one(self, _number: int) -> None:
        name = f"bare-{uuid.uuid4().hex}"
        created = self.api.create_container_from_config(self.body, name)  # type: ignore[no-untyped-call]
        self.api.start(created["Id"])
        self.api.wait(created["Id"])
        self.api.remove_container(created["Id"])

    def started_after(self) -> float:
        """Seconds from the request to the container's start, as Docker notes it."""
        asked = datetime.now(UTC)
        created = self.api.create_container_from_config(self.body, f"bare-{uuid.uuid4().hex}")  # type: ignore[no-untyped-call]
        self.api.start(created["Id"])
        found: dict[str, Any] = self.api.inspect_container(created["Id"])
        self.api.wait(created["Id"])
        self.api.remove_container(created["Id"])
        return (datetime.fromisoformat(found["State"]["StartedAt"]) - asked).total_seconds()

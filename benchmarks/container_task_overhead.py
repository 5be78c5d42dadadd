"""What a container costs through Fleetwide, against the same container through Docker alone.

40 no-op ``ContainerTask`` workflows end to end, 4 at a time, against a bare loop of the same
containers through the Docker API, 4 at a time: create, start, wait, remove. Both sides alternate
in one run on one machine; the value is the ratio of wall times.
"""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker import APIClient
from temporalio.client import Client as TemporalClient

from benchmarks.harness import Figure, RunningPlatform, alternate, report, running_platform, say
from fleetwide.client import Client
from fleetwide.containers.launch import create_request
from fleetwide.models.baseos import OSImageSpec, Variant
from fleetwide.models.containers import AttemptKey, ContainerTaskSpec, RunContainer
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect

CONTAINERS = 40
PARALLEL = 4
PAIRS = 7
WARM_UP = 8
FIGURE = Figure(
    name="container_task_overhead",
    unit="ratio of wall times",
    goal=1.4,
    better="lower",
    baseline=f"{CONTAINERS} of the same containers by docker create, start, wait, remove, "
    f"{PARALLEL} at a time",
)


def build_base(running: RunningPlatform) -> str:
    """A small OS release to run; returns its reference."""
    spec = OSImageSpec(name="bench", version="1", suite="bookworm", variant=Variant.ESSENTIAL)
    with Client(running.url("api")) as client:
        client.os.build(spec, wait=280)
        return client.os.get("bench", "1").reference


class Fleetwide:
    """Our side: a Temporal client starts the workflows and awaits their results."""

    def __init__(self, running: RunningPlatform, image: str) -> None:
        self.address = running.config.temporal.address
        self.spec = ContainerTaskSpec.model_validate(
            {
                "app": "noop",
                "container": {
                    "image": image,
                    "command": ["true"],
                    "resources": {"cpu": 0.25, "memory": "32MiB"},
                },
            }
        )

    def run(self, count: int) -> float:
        return asyncio.run(self._run(count))

    async def _run(self, count: int) -> float:
        client = await connect(Settings(temporal_address=self.address))
        turns = asyncio.Semaphore(PARALLEL)
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

    def __init__(self, running: RunningPlatform, spec: ContainerTaskSpec, image: str) -> None:
        self.api = APIClient(timeout=60)
        self.body = self._body(running, spec, image)

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
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(self._one, range(count)))
        return time.perf_counter() - started

    def _one(self, _number: int) -> None:
        name = f"bare-{uuid.uuid4().hex}"
        created = self.api.create_container_from_config(self.body, name)  # type: ignore[no-untyped-call]
        self.api.start(created["Id"])
        self.api.wait(created["Id"])
        self.api.remove_container(created["Id"])


def main() -> None:
    with running_platform() as running:
        say("building a small OS release to run")
        image = build_base(running)
        ours = Fleetwide(running, image)
        ours.run(WARM_UP)
        bare = BareDocker(running, ours.spec, image)
        bare.run(WARM_UP)
        say(f"{PAIRS} pairs of {CONTAINERS} containers, {PARALLEL} at a time")
        measured = alternate(lambda: ours.run(CONTAINERS), lambda: bare.run(CONTAINERS), PAIRS)
        bare.api.close()
    report(FIGURE, measured)


if __name__ == "__main__":
    main()

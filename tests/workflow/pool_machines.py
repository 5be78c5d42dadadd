"""Machines that a script starts, for pools: each joins the fleet through a worker of its own."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from temporalio import activity
from temporalio.client import WorkflowHandle

from fleetwide.containers.placement import Offer
from fleetwide.errors import CloudUnavailable
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.hosts import HostFacts, HostSpec, host_task_queue
from fleetwide.models.pools import HostPoolSpec, Machine, MachineState, PoolLaunch
from fleetwide.models.task_states import EndReason
from fleetwide.providers import local_machines
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.world import World, world

SMALL = {"name": "small", "cpu": 1.0, "memory": "1GiB"}


@dataclass
class Joining:
    """The worker of one new host: it says what it is, and reports until its machine ends."""

    host_id: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    runs: list[str] = field(default_factory=list)

    @activity.defn(name="hosts.describe")
    async def describe(self) -> HostFacts:
        return HostFacts(
            host_id=self.host_id,
            docker_version="27.0",
            os="Debian",
            kernel="6",
            architecture="x86_64",
            cpus=1,
            memory=1024**3,
        )

    @activity.defn(name="hosts.watch")
    async def watch(self) -> None:
        while not self.ended.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.05)

    @activity.defn(name="hosts.run_container")
    async def run_container(self, run: RunContainer) -> AttemptResult:
        """Runs until it is stopped, or the machine ends, and falls silent then."""
        self.runs.append(run.key.workflow_id)
        with suppress(asyncio.CancelledError):
            while True:
                if not self.ended.is_set():
                    activity.heartbeat()
                await asyncio.sleep(0.05)
        return AttemptResult(
            key=run.key,
            host_id=self.host_id,
            reason=EndReason.KILLED,
            message="stopped",
            exit_code=143,
        )


@dataclass
class ScriptedMachines:
    """A provider in memory; what it starts joins the fleet, unless it is ``dead``."""

    plane: World
    loop: asyncio.AbstractEventLoop
    stack: AsyncExitStack
    machines: dict[str, Machine] = field(default_factory=dict)
    joining: dict[str, Joining] = field(default_factory=dict)
    tokens: dict[str, list[str]] = field(default_factory=dict)
    dead: bool = False
    short: bool = False
    doubtful: set[str] = field(default_factory=set)
    """Not listed, but not surely off either."""

    def offers(self, spec: HostPoolSpec) -> Sequence[Offer]:
        return [local_machines.offer(spec, one) for one in spec.types]

    def listing(self, spec: HostPoolSpec) -> Sequence[Machine]:
        return list(self.machines.values())

    def launch(self, launch: PoolLaunch) -> Sequence[Machine]:
        if self.short:
            raise CloudUnavailable("no more of these are left")
        if launch.token not in self.tokens:
            first = len(self.joining)
            ids = [f"m-{number}" for number in range(first, first + launch.count)]
            self.tokens[launch.token] = ids
            joined = asyncio.run_coroutine_threadsafe(self._start(launch, ids), self.loop)
            joined.result(20)
        return [self.machines[one] for one in self.tokens[launch.token]]

    async def _start(self, launch: PoolLaunch, ids: list[str]) -> None:
        for machine_id in ids:
            self.machines[machine_id] = Machine(
                id=machine_id,
                type=launch.type,
                state=MachineState.RUNNING,
                launched_at=datetime.now(UTC) - timedelta(seconds=1),
            )
            self.joining[machine_id] = Joining(machine_id)
            if not self.dead:
                await self._join(self.joining[machine_id])

    async def _join(self, one: Joining) -> None:
        role = WorkerRole(
            host_task_queue(one.host_id),
            activities=[one.describe, one.watch, one.run_container],
            max_activities=4,
        )
        await self.stack.enter_async_context(make_worker(self.plane.client, role))
        content = {"host_id": one.host_id, "cpu": 1, "memory": "1GiB", "labels": {"pool": "p"}}
        spec = HostSpec.model_validate(content)
        await self.plane.start("Host", spec, f"host/{one.host_id}")

    def off(self, spec: HostPoolSpec, machines: Sequence[str]) -> Collection[str]:
        return set(machines) - self.machines.keys() - self.doubtful

    def terminate(self, spec: HostPoolSpec, machines: Sequence[str]) -> None:
        for machine_id in machines:
            self.machines.pop(machine_id, None)
            self.loop.call_soon_threadsafe(self.joining[machine_id].ended.set)

    async def begin(self, **given: Any) -> WorkflowHandle[Any, Any]:
        """Start the pool ``p``."""
        content = {"name": "p", "provider": "local", "types": [SMALL], "max": 3, **given}
        return await self.plane.start("HostPool", HostPoolSpec.model_validate(content), "pool/p")


@asynccontextmanager
async def scripted_machines(folder: Path) -> AsyncIterator[ScriptedMachines]:
    """A platform whose pools of the local provider are served by a script."""
    made: list[ScriptedMachines] = []

    class Late:
        """Takes the provider's place before there is a platform."""

        def __init__(self, *_: object) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return getattr(made[0], name)

    with patch("activities.pools.LocalMachines", Late), patch("activities.pools.LOOK_SECONDS", 0.1):
        async with world(folder) as plane, AsyncExitStack() as stack:
            made.append(ScriptedMachines(plane, asyncio.get_running_loop(), stack))
            yield made[0]
            for one in made[0].joining.values():
                one.ended.set()

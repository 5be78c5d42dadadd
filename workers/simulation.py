"""Many simulated hosts in one process: real workflows, queues and attempts, but no containers.

Each host has its own task queue, as real ones have, and so a worker of its own; what they can
share they share: the client, the threads, the state file. An idle host costs this process 0.3 MB,
the Temporal server 0.7 MB and one poll a minute, beside its reports.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.hosts import HostActivities
from activities.simulated import SimulatedPreheatActivities
from fleetwide.containers.simulated_fleet import SimulatedFleet
from fleetwide.models.hosts import HostSpec, host_task_queue
from fleetwide.providers.objects import open_object_store
from fleetwide.providers.simulated import SimulatedEngine
from fleetwide.providers.simulated_state import SimulatedState
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.host import register
from workers.process import Process, run

CONTAINERS_A_HOST = 200
CONTAINERS = 10_000
"""At a time, in all: each that runs holds a thread."""
AT_A_TIME = 16
TELL_EVERY = 100
AGAIN_SECONDS = 1.0

Item = TypeVar("Item")

log = structlog.get_logger()


async def serve(fleet: SimulatedFleet, process: Process) -> None:
    """Be all of them until the process is told to stop, or one of the workers fails."""
    settings = process.settings
    state = SimulatedState(settings.state_dir / "simulated" / f"{fleet.prefix}.db")
    serving = _Serving(process)
    try:
        await _each("registered", _workers(fleet, process, state), serving.begin)
        await process.stop.wait()
        if fleet.leave:
            await _each("left", fleet.hosts(), partial(_leave, process))
    finally:
        await serving.end()
        state.close()


class _Serving:
    """The workers that run."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._running: list[tuple[Worker, asyncio.Task[None]]] = []

    async def begin(self, host: tuple[HostSpec, Worker]) -> None:
        """Start one, and make its host known; an overloaded Temporal is waited for."""
        spec, worker = host
        if self._process.stop.is_set():
            return
        running = asyncio.create_task(worker.run())
        running.add_done_callback(lambda _: self._process.stop.set())
        self._running.append((worker, running))
        while not await self._registered(spec):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.stop.wait(), AGAIN_SECONDS)
                return

    async def _registered(self, spec: HostSpec) -> bool:
        try:
            await register(self._process.client, spec)
        except RPCError as error:
            log.warning("registering again", host=spec.host_id, error=str(error))
            return False
        return True

    async def end(self) -> None:
        """Stop all; raises what one of them failed with."""
        stops = (worker.shutdown() for worker, _ in self._running)
        await asyncio.gather(*stops, return_exceptions=True)
        await asyncio.gather(*(running for _, running in self._running))


def _workers(
    fleet: SimulatedFleet, process: Process, state: SimulatedState
) -> Iterator[tuple[HostSpec, Worker]]:
    """Each host with its worker, made when it is its turn."""
    settings = process.settings
    threads = ThreadPoolExecutor(CONTAINERS, "simulated")
    objects = open_object_store(settings)
    platform = str(settings.state_dir.absolute())
    for spec in fleet.hosts():
        engine = SimulatedEngine(spec, platform, settings.registry_url, state, fleet.scenario)
        own = settings.model_copy(
            update={"host_id": spec.host_id, "host_report_seconds": spec.report_seconds}
        )
        host = HostActivities(own, engine, objects, process.client)
        preheats = SimulatedPreheatActivities(engine)
        role = WorkerRole(
            task_queue=host_task_queue(spec.host_id),
            activities=[
                host.describe,
                host.run_container,
                host.find_container,
                host.watch,
                preheats.warm_host,
            ],
            max_activities=CONTAINERS_A_HOST,
            executor=threads,
            activity_pollers=1,
        )
        yield spec, make_worker(process.client, role)


async def _leave(process: Process, spec: HostSpec) -> None:
    await process.client.get_workflow_handle(f"host/{spec.host_id}").cancel()


async def _each(done: str, items: Iterable[Item], step: Callable[[Item], Awaitable[None]]) -> None:
    """Do something with all hosts, some at a time, and tell how far it is."""
    waiting, count = iter(items), 0

    async def work() -> None:
        nonlocal count
        for item in waiting:
            await step(item)
            count += 1
            if count % TELL_EVERY == 0:
                log.info("simulated hosts", step=done, count=count)

    await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
    log.info("simulated hosts", step=done, count=count, all=True)


def main(fleet: SimulatedFleet) -> None:
    run("simulation", partial(serve, fleet))

"""What a task costs Temporal: events of its history, CPU of the server and of our workers.

Tasks of a single attempt run on simulated hosts, so that no container's own CPU is counted: one
round of tasks and one of bare workflows with one activity in turn, on one server, with what the
processes use when idle taken off. The value is the length of the longest history of a task.
"""

import asyncio
import statistics
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
from temporalio.client import Client, WorkflowHandle

from benchmarks.bare_workflow import BARE_QUEUE
from benchmarks.fleets import SIMULATION, Tasks, fleet_config, push_image, simulated_task
from benchmarks.harness import (
    ROOT,
    Figure,
    RunningPlatform,
    report_values,
    running_platform,
    say,
    shipped,
)
from benchmarks.usage import Spent, processes, spending, table
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect

HOSTS = 4
TASKS = 120
PARALLEL = 16
ROUNDS = 3
IDLE_SECONDS = 15.0
OURS = ("control", "scheduler", SIMULATION)
FIGURE = Figure(
    name="task_events",
    unit="history events of a task with one attempt",
    goal=20,
    better="lower",
    baseline="a bare workflow of one activity in the same run; CPU in ms for each of them",
)


@dataclass
class Side:
    """What one kind of workflow costs."""

    name: str
    processes: dict[str, psutil.Process]
    idle: Spent = field(default_factory=lambda: Spent({}))
    rounds: list[dict[str, float]] = field(default_factory=list)
    events: int = 0

    def median(self, process: str) -> float:
        return round(statistics.median(each[process] for each in self.rounds), 1)


@contextmanager
def bare_worker(address: str) -> Iterator[psutil.Process]:
    """The worker of the bare workflow, a process of its own as ours are."""
    code = "import asyncio, sys; from benchmarks.bare_workflow import serve;"
    command = [sys.executable, "-c", f"{code} asyncio.run(serve(sys.argv[1]))", address]
    with subprocess.Popen(command, cwd=ROOT) as worker:
        try:
            yield psutil.Process(worker.pid)
        finally:
            worker.terminate()


async def idle(side: Side) -> None:
    with spending(side.processes) as side.idle:
        await asyncio.sleep(IDLE_SECONDS)


async def round_of(side: Side, client: Client, spec: ContainerTaskSpec | None) -> None:
    """One round of tasks, or of bare workflows where there is no spec."""
    with spending(side.processes) as spent:
        handles = await run_all(client, spec)
    above = spent.above(side.idle)
    side.rounds.append({name: above.milliseconds(name, TASKS) for name in side.processes})
    lengths = [await Tasks(client).events_of(handle) for handle in handles]
    side.events = max(side.events, *lengths)


async def run_all(
    client: Client, spec: ContainerTaskSpec | None
) -> Sequence[WorkflowHandle[Any, Any]]:
    turns = asyncio.Semaphore(PARALLEL)

    async def one() -> WorkflowHandle[Any, Any]:
        kind, queue = ("Bare", BARE_QUEUE) if spec is None else ("ContainerTask", "control")
        given = [] if spec is None else [spec]
        async with turns:
            handle = await client.start_workflow(
                kind, args=given, id=f"task/{uuid.uuid4()}", task_queue=queue
            )
            await handle.result()
            return handle

    return await asyncio.gather(*(one() for _ in range(TASKS)))


async def measure(running: RunningPlatform, image: str, bare: psutil.Process) -> list[Side]:
    """Both sides, after a round of each to warm up."""
    client = await connect(Settings(temporal_address=running.config.temporal.address))
    server = processes(running, ["temporal"])
    tasks = Side("task", server | processes(running, OURS))
    others = Side("bare workflow", server | {"worker": bare})
    sides = [(tasks, simulated_task(image, "run=0s")), (others, None)]
    for _, spec in sides:
        await run_all(client, spec)
    for side, _ in sides:
        await idle(side)
    for number in range(ROUNDS):
        for side, spec in sides:
            await round_of(side, client, spec)
            say(f"  round {number + 1}, {side.name}: {side.rounds[-1]} ms of CPU each")
    return [tasks, others]


def show(tasks: Side, bare: Side) -> None:
    rows = []
    for side in (tasks, bare):
        server = side.median("temporal")
        workers = {name: side.median(name) for name in side.processes if name != "temporal"}
        total = round(server + sum(workers.values()), 1)
        told = ", ".join(f"{name} {each}" for name, each in workers.items())
        rows.append([side.name, side.events, server, told, total])
    table(["", "events", "server, ms", "workers, ms", "all, ms"], rows)
    figures = {
        side.name.replace(" ", "_"): {
            "events": side.events,
            "cpu_ms": {name: side.median(name) for name in side.processes},
        }
        for side in (tasks, bare)
    }
    report_values(FIGURE, [tasks.events], figures)


def main() -> None:
    with running_platform(fleet_config(shipped(), HOSTS)) as running:
        with bare_worker(running.config.temporal.address) as bare:
            image = push_image(running)
            say(f"{ROUNDS} rounds of {TASKS} tasks and bare workflows, {PARALLEL} at a time")
            sides = asyncio.run(measure(running, image, bare))
    show(*sides)


if __name__ == "__main__":
    main()

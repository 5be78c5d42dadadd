"""How a fleet's rate holds when the work grows: 500, 1,500 and 5,000 tasks on 1,000 hosts.

The hosts are simulated, in one process; Temporal, SQL, the workers and the scheduler are real, on
the same cores. All tasks are submitted at once. The value is the exponent b of ``time = a n^b``,
fitted to the medians: 1 means that twice the work takes twice the time. The rates are beside
it; each size's baseline is the rate of the smallest one.

``python benchmarks/fleet_growth.py 50 20 60`` tries it with 50 hosts, 20 and 60 tasks.
"""

import asyncio
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
from sqlmodel import col, func, select
from temporalio.client import Client

from benchmarks.fleets import SIMULATION, Tasks, fleet_config, push_image, simulated_task
from benchmarks.harness import (
    Figure,
    RunningPlatform,
    report_values,
    running_platform,
    say,
    shipped,
)
from benchmarks.usage import cpu_seconds, memory_mib, processes, table
from fleetwide.models.hosts import HostState
from fleetwide.models.task_states import EndReason
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow, JobRow
from fleetwide.temporal.client import connect

HOSTS, SIZES = 1_000, (500, 1_500, 5_000)
RUNS = (3, 2, 1)
"""Of each size: the small ones vary more, and the large one is long."""
WARM_UP = 50
SAMPLE = 25
SCENARIO = "run=1s log=2"
POLL_SECONDS = 0.5
PROCESSES = ("temporal", "control", "scheduler", SIMULATION)
FIGURE = Figure(
    name="fleet_growth",
    unit="exponent of time over tasks",
    goal=1.1,
    better="lower",
    baseline="the rate of the smallest size in the same run; linear growth is 1.0",
)


@dataclass(frozen=True)
class Run:
    """One run of one size."""

    tasks: int
    seconds: float
    cpu_ms: Mapping[str, float]
    """Of each process for each task."""
    memory: Mapping[str, int]
    events: int


@dataclass(frozen=True)
class Growth:
    """A fleet and its books."""

    client: Client
    store: Store
    image: str
    processes: dict[str, psutil.Process]

    async def registered(self, hosts: int) -> None:
        started, count = time.perf_counter(), 0
        while count < hosts:
            await asyncio.sleep(POLL_SECONDS)
            with self.store.read() as session:
                active = col(HostRow.state) == HostState.ACTIVE
                count = session.exec(select(func.count()).where(active)).one()
        say(f"  {hosts} hosts registered after {time.perf_counter() - started:.0f} s")

    async def run(self, count: int) -> Run:
        """Submit so many tasks and wait for their end, by the books alone: asking costs little."""
        before, cpu, started = self._ended(), cpu_seconds(self.processes), time.perf_counter()
        tasks = Tasks(self.client)
        handles = await tasks.start([simulated_task(self.image, SCENARIO)] * count)
        await asyncio.to_thread(self._wait, before + count)
        seconds = time.perf_counter() - started
        used = cpu_seconds(self.processes)
        sample = handles[:: max(1, count // SAMPLE)]
        run = Run(
            tasks=count,
            seconds=seconds,
            cpu_ms={name: (used[name] - cpu[name]) * 1000 / count for name in used},
            memory=memory_mib(self.processes),
            events=max([await tasks.events_of(handle) for handle in sample]),
        )
        say(f"  {count} tasks in {seconds:.1f} s")
        return run

    def _wait(self, ended: int) -> None:
        while self._ended() < ended:
            time.sleep(POLL_SECONDS)

    def _ended(self) -> int:
        with self.store.read() as session:
            ended = col(JobRow.finished_at).is_not(None)
            return session.exec(select(func.count()).where(ended)).one()

    def bad_ends(self) -> int:
        """Attempts that ended otherwise than scripted."""
        with self.store.read() as session:
            bad = col(AttemptRow.reason) != EndReason.NORMAL
            return session.exec(select(func.count()).where(bad)).one()


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """The slope of log(seconds) over log(tasks), by least squares."""
    logs = [(math.log(tasks), math.log(seconds)) for tasks, seconds in points]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


async def measure(running: RunningPlatform, hosts: int, plan: Sequence[int]) -> list[Run]:
    growth = Growth(
        await connect(Settings(temporal_address=running.config.temporal.address)),
        Store.open(f"sqlite:///{running.state}/fleetwide.db"),
        push_image(running),
        processes(running, PROCESSES),
    )
    await growth.registered(hosts)
    await growth.run(WARM_UP)
    runs = [await growth.run(count) for count in plan]
    if bad := growth.bad_ends():
        sys.exit(f"{bad} attempts did not end as scripted")
    return runs


def show(runs: Sequence[Run], hosts: int) -> None:
    sizes = sorted({run.tasks for run in runs})
    of = {size: [run for run in runs if run.tasks == size] for size in sizes}
    medians = [(size, statistics.median(run.seconds for run in of[size])) for size in sizes]
    rows = [
        [
            f"{size}",
            len(of[size]),
            f"{seconds:.1f}",
            f"{size / seconds:.1f}",
            f"{size / seconds / (sizes[0] / medians[0][1]):.2f}",
            max(run.events for run in of[size]),
            *(
                f"{of[size][-1].cpu_ms[name]:.0f} / {of[size][-1].memory[name]}"
                for name in PROCESSES
            ),
        ]
        for size, seconds in medians
    ]
    costs = [f"{name}, ms / MiB" for name in PROCESSES]
    table(["tasks", "runs", "seconds", "tasks/s", "to smallest", "events", *costs], rows)
    figures = {
        "hosts": hosts,
        "tasks_per_second": {size: round(size / seconds, 2) for size, seconds in medians},
        "memory_mib": dict(runs[-1].memory),
        "events": max(run.events for run in runs),
    }
    report_values(FIGURE, [exponent(medians)], figures)


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    hosts, *sizes = given or [HOSTS, *SIZES]
    runs = RUNS if not given else (1,) * len(sizes)
    plan = [size for size, times in zip(sizes, runs, strict=True) for _ in range(times)]
    with running_platform(fleet_config(shipped(), hosts)) as running:
        say(f"{hosts} simulated hosts; then {', '.join(map(str, plan))} tasks")
        measured = asyncio.run(measure(running, hosts, plan))
    show(measured, hosts)


if __name__ == "__main__":
    main()

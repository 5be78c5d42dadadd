"""What 500 services of five copies cost at rest, and whether a drain keeps all their budgets.

The hosts are simulated, in one process; Temporal, SQL, the workers and the scheduler are real, on
the same cores. Once all copies are ready the histories of the services and of their copies are
read: the value is the workflow tasks that were completed in five minutes, per service and minute.
The baseline in the same minutes are as many workflows that only wait for a timer. Then a tenth of
the hosts is drained, under budgets of several kinds, while ``budget_watch`` samples the books.

``python benchmarks/service_steady_state.py 20 60`` tries it with 20 services for 60 seconds.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
from sqlmodel import col, func, select
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from benchmarks.budget_watch import Found, Wanted, moves, sample, violations
from benchmarks.fleets import SIMULATION, fleet_config, push_image
from benchmarks.harness import (
    Figure,
    RunningPlatform,
    report_values,
    running_platform,
    say,
    shipped,
)
from benchmarks.timer_workflow import TIMER_QUEUE, OnlyWaits
from benchmarks.usage import Spent, memory_mib, processes, spending, table
from fleetwide.containers.scenarios import SIMULATE
from fleetwide.models.host_moves import DrainRequest
from fleetwide.models.hosts import HostState
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.settings import Settings
from fleetwide.store.clock import now as store_now
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRow
from fleetwide.store.session import Store
from fleetwide.store.standings import on_host
from fleetwide.store.tables import HostRow, JobRow
from fleetwide.temporal.client import connect
from fleetwide.temporal.worker import sandbox

SERVICES, SECONDS, COPIES = 500, 300.0, 5
HOSTS_PER_SERVICE = 5
LEAST_HOSTS = 20
IDLE_SECONDS = 30.0
SETTLE_SECONDS = 30.0
SAMPLE_SECONDS = 0.5
WAIT_SECONDS = 900.0
DRAIN_SECONDS = 300.0
PARALLEL = 16
PROCESSES = ("temporal", "control", "scheduler", SIMULATION)
# Of the services in turn.
BUDGETS: tuple[dict[str, Any], ...] = (
    {"policy": {"availability_percentage": {"percent": 80}}},
    {"policy": {"unhealthy_limit": {"copies": 2}}},
    {
        "policy": {"availability_percentage": {"percent": 60}},
        "rate": {"count_per_interval": {"count": 1, "seconds": 30}},
    },
    {"policy": {"self_managed": {"relocation_seconds": 20}}},
    {
        "policy": {"unhealthy_limit": {"copies": 1}},
        "rate": {"percentage_per_interval": {"percent": 40, "seconds": 20}},
    },
)
FIGURE = Figure(
    name="service_steady_state",
    unit="workflow tasks per service and minute",
    goal=1.0,
    better="lower",
    baseline="as many workflows that only wait for a timer of five minutes, in the same minutes",
)


@dataclass
class Rest:
    """What was seen while nothing happened."""

    services: list[int] = field(default_factory=list)
    """Workflow tasks of each service."""
    copies: int = 0
    timers: int = 0
    seconds: float = 0.0
    spent: Spent = field(default_factory=lambda: Spent({}))
    memory: dict[str, int] = field(default_factory=dict)

    def a_minute(self, tasks: int) -> float:
        """Per service."""
        return tasks / len(self.services) * 60 / self.seconds


@dataclass
class Drained:
    """What a drain did."""

    hosts: int
    on_them: int
    moved: int = 0
    seconds: float = 0.0
    left: int = 0
    samples: int = 0
    silent: int = 0
    violations: dict[str, int] = field(default_factory=dict)


def service(image: str, number: int) -> ContainerServiceSpec:
    """One whose copies run for ever on simulated hosts."""
    return ContainerServiceSpec.model_validate(
        {
            "app": f"drill-{number:04d}",
            "capacity": {"desired": COPIES},
            "container": {
                "image": image,
                "env": {SIMULATE: "run=forever term=200ms"},
                "resources": {"cpu": 0.1, "memory": "64MiB"},
                "constraints": {"tolerations": ["simulated"]},
            },
            "deploy": {"healthy_seconds": 2},
            "disruption_budget": BUDGETS[number % len(BUDGETS)],
        }
    )


@dataclass
class Bench:
    """A fleet of simulated hosts, its books, and the services on it."""

    client: Client
    store: Store
    processes: dict[str, psutil.Process]
    specs: dict[str, ContainerServiceSpec]
    timers: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    @property
    def wanted(self) -> Wanted:
        found = {}
        for name, spec in self.specs.items():
            assert spec.disruption_budget is not None
            found[name] = (spec.disruption_budget, spec.capacity.desired)
        return found

    async def registered(self, hosts: int) -> None:
        active = col(HostRow.state) == HostState.ACTIVE
        count = select(func.count()).where(active)
        await self._until(lambda: self._one(count) >= hosts, f"{hosts} hosts are registered")

    async def start_timers(self) -> None:
        async def start(number: int) -> WorkflowHandle[Any, Any]:
            return await self.client.start_workflow(
                "OnlyWaits", id=f"timer-{number}", task_queue=TIMER_QUEUE
            )

        self.timers = await _some_at_a_time([start(number) for number in range(len(self.specs))])

    async def start_services(self) -> float:
        """Start them all; the seconds until all of their copies are ready."""
        began = time.perf_counter()
        starts = [
            self.client.start_workflow(
                "ContainerService", spec, id=f"service/{name}", task_queue="control"
            )
            for name, spec in self.specs.items()
        ]
        await _some_at_a_time(starts)
        await self._until(self._all_ready, "all copies are ready")
        return time.perf_counter() - began

    async def rest(self, seconds: float) -> Rest:
        """Let nothing happen for so long, and count what happened all the same."""
        since, found = datetime.now(UTC), Rest()
        with spending(self.processes) as found.spent:
            await asyncio.sleep(seconds)
        until = datetime.now(UTC)
        found.seconds, found.memory = (until - since).total_seconds(), memory_mib(self.processes)
        services = [self.client.get_workflow_handle(f"service/{name}") for name in self.specs]
        copies = [self.client.get_workflow_handle(f"task/{name}") for name in self._copies()]
        found.services = await self._tasks(services, since, until)
        found.copies = sum(await self._tasks(copies, since, until))
        found.timers = sum(await self._tasks(self.timers, since, until))
        return found

    async def drain(self, hosts: Sequence[str], deadline: float) -> Drained:
        """Drain these hosts, and judge every sample of the books until they are empty."""
        began, found = time.perf_counter(), Found()
        with self.store.read() as session:
            since = store_now(session)
        drained = Drained(len(hosts), self._left(hosts))
        request = DrainRequest(by="benchmark", reason="a tenth of the fleet goes")
        asked = asyncio.create_task(self._ask(hosts, request))
        while (left := self._left(hosts)) and time.perf_counter() - began < deadline:
            self._judge(found)
            await asyncio.sleep(SAMPLE_SECONDS)
        drained.seconds, drained.left = time.perf_counter() - began, left
        await asked
        with self.store.read() as session:
            moved = moves(session, since)
        drained.moved, drained.samples, drained.silent = len(moved), found.samples, found.silent
        drained.violations = violations(found, self.wanted, moved)
        return drained

    async def _ask(self, hosts: Iterable[str], request: DrainRequest) -> None:
        handles = [self.client.get_workflow_handle(f"host/{host}") for host in hosts]
        await asyncio.gather(*(handle.execute_update("drain", request) for handle in handles))

    def _judge(self, found: Found) -> None:
        with self.store.read() as session:
            copies = sample(session)
        found.note(copies, self.wanted)

    def _left(self, hosts: Iterable[str]) -> int:
        with self.store.read() as session:
            return sum(len(list(on_host(session, host))) for host in hosts)

    def hosts(self) -> list[str]:
        with self.store.read() as session:
            return sorted(session.exec(select(HostRow.host_id)).all())

    def _all_ready(self) -> bool:
        with self.store.read() as session:
            rows = session.exec(select(ServiceRow.status)).all()
        ready = sum(int(status.get("ready", 0)) for status in rows)
        return ready >= sum(spec.capacity.desired for spec in self.specs.values())

    def _copies(self) -> list[str]:
        with self.store.read() as session:
            live = col(ServiceCopyRow.ended_at).is_(None)
            return list(session.exec(select(ServiceCopyRow.task_id).where(live)).all())

    def ended(self) -> int:
        """Copies that ended, which at rest none does."""
        over = col(JobRow.finished_at).is_not(None) & col(JobRow.service_id).is_not(None)
        return self._one(select(func.count()).where(over))

    def _one(self, query: Any) -> int:
        with self.store.read() as session:
            found: int = session.exec(query).one()
            return found

    async def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                sys.exit(f"waited in vain until {what}")
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _tasks(
        self, handles: Sequence[WorkflowHandle[Any, Any]], since: datetime, until: datetime
    ) -> list[int]:
        """Workflow tasks that each completed in that time, by its history."""
        return await _some_at_a_time([_tasks_of(handle, since, until) for handle in handles])


async def _tasks_of(handle: WorkflowHandle[Any, Any], since: datetime, until: datetime) -> int:
    count = 0
    async for event in handle.fetch_history_events():
        done = event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
        count += done and since <= event.event_time.ToDatetime(UTC) < until
    return count


async def _some_at_a_time(work: Sequence[Any]) -> list[Any]:
    gate = asyncio.Semaphore(PARALLEL)

    async def one(each: Any) -> Any:
        async with gate:
            return await each

    return list(await asyncio.gather(*map(one, work)))


async def measure(running: RunningPlatform, services: int, seconds: float) -> None:
    client = await connect(Settings(temporal_address=running.config.temporal.address))
    image = push_image(running)
    bench = Bench(
        client,
        Store.open(f"sqlite:///{running.state}/fleetwide.db"),
        processes(running, PROCESSES),
        {f"drill-{number:04d}": service(image, number) for number in range(services)},
    )
    await bench.registered(hosts_for(services))
    worker = Worker(
        client, task_queue=TIMER_QUEUE, workflows=[OnlyWaits], workflow_runner=sandbox()
    )
    async with worker:
        await bench.start_timers()
        with spending(bench.processes) as idle:
            await asyncio.sleep(IDLE_SECONDS)
        took = await bench.start_services()
        say(f"  {services * COPIES} copies ready after {took:.0f} s")
        await asyncio.sleep(SETTLE_SECONDS)
        rest = await bench.rest(seconds)
        ended = bench.ended()
        show_rest(rest, idle)
        chosen = bench.hosts()[::10]
        drained = await bench.drain(chosen, DRAIN_SECONDS)
        show_drain(drained)
    tell(rest, drained, {"ready_seconds": round(took, 1), "ended_at_rest": ended})


def hosts_for(services: int) -> int:
    return max(LEAST_HOSTS, services // HOSTS_PER_SERVICE)


def show_rest(rest: Rest, idle: Spent) -> None:
    above = rest.spent.above(idle)
    rows = [
        [
            name,
            f"{idle.cpu[name] / idle.wall:.3f}",
            f"{rest.spent.cpu[name] / rest.spent.wall:.3f}",
            f"{above.cpu[name] * 1000 / len(rest.services) * 60 / rest.seconds:.1f}",
            rest.memory[name],
        ]
        for name in PROCESSES
    ]
    table(["process", "cores idle", "cores at rest", "ms/service/min", "MiB"], rows)
    of = sorted(rest.services)
    say(f"  workflow tasks of a service: {of[0]} to {of[-1]}, median {statistics.median(of):g}")


def show_drain(drained: Drained) -> None:
    say(
        f"  {drained.hosts} hosts with {drained.on_them} copies drained in {drained.seconds:.0f} s:"
        f" {drained.moved} let go, {drained.left} left; {drained.samples} samples,"
        f" {drained.silent} not judged; violations {drained.violations}"
    )


def tell(rest: Rest, drained: Drained, more: dict[str, Any]) -> None:
    report_values(
        FIGURE,
        [rest.a_minute(sum(rest.services) + rest.copies)],
        {
            "tasks_per_minute": round(rest.a_minute(rest.timers), 3),
            "services_alone": round(rest.a_minute(sum(rest.services)), 3),
            "services": len(rest.services),
            "seconds": round(rest.seconds),
            "cores": {
                name: round(cpu / rest.spent.wall, 3) for name, cpu in rest.spent.cpu.items()
            },
            "memory_mib": rest.memory,
            "drained_hosts": drained.hosts,
            "drain_seconds": round(drained.seconds, 1),
            "relocated": drained.moved,
            "left": drained.left,
            "violations": drained.violations,
            **more,
        },
    )
    if sum(drained.violations.values()) or drained.left:
        sys.exit("the drain broke a budget, or did not end")


def main() -> None:
    services, seconds = SERVICES, SECONDS
    with suppress(IndexError):
        services = int(sys.argv[1])
        seconds = float(sys.argv[2])
    hosts = hosts_for(services)
    with running_platform(fleet_config(shipped(), hosts)) as running:
        say(f"{hosts} simulated hosts; then {services} services of {COPIES} copies")
        asyncio.run(measure(running, services, seconds))


if __name__ == "__main__":
    main()

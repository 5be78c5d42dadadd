"""Placement with durable commit: tasks of one job each are read, placed on 5,000 hosts, written.

It is the worker's own tick (``Placer``: lease, queue, engine, one fenced transaction with an event
for each task, look-up of whom to tell), but for the calls to Temporal that tell the workflows. The
fleet is known when the clock starts, as to a scheduler that runs. The rate is by the clock; the
processor time of this process is told beside it, by step, as others may share the machine. SQLite
runs as in the product (WAL, synchronous=NORMAL), PostgreSQL with fsync and synchronous commit.

Kubernetes' own floors for its scheduler with 5,000 nodes are 680 pods/s (10,000 pods) and 810
(50,000), API server included (thresholds of ``scheduler_perf``, SchedulingBasic).
"""

import argparse
import asyncio
import gc
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, cast

from sqlalchemy import func, insert
from sqlmodel import Session, col, select
from temporalio.client import Client

from benchmarks.harness import Figure, report_values, say
from fleetwide.models.containers import ContainerSpec, JobHeader, JobKind
from fleetwide.models.hosts import HostState
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import TaskState
from fleetwide.store import hosts, job_shapes, migrate, scheduling
from fleetwide.store.scheduling import Delivery
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, EventRow, HostRow, JobRow, WaiterRow
from tests.postgres import Postgres
from workers.placing import Placer

HOSTS, CORES, MEMORY_GIB = 5_000, 16, 64
GIB = 1024**3
SIZES = {1_000: 3, 10_000: 3, 50_000: 1}
"""Tasks of a run, and how often it is repeated."""
JUDGED = 10_000
SHAPES = ((0.25, 0.5), (0.5, 1), (1, 2), (1, 4), (2, 4))
"""CPUs and GiB."""
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
FIGURE = Figure(
    name="placement_commit",
    unit="tasks/s, the slower of SQLite and PostgreSQL, 10,000 tasks",
    goal=5_000,
    better="higher",
    baseline="Kubernetes' floors with 5,000 nodes, published: 680 pods/s (10,000), 810 (50,000)",
)


class Told(Placer):
    """The placer without Temporal: whoever waits counts as told."""

    async def _deliver(self, delivery: Delivery) -> None:  # noqa: ARG002
        return None

    def begin(self) -> None:
        """Take the lease and read the fleet: whoever begins to lead forgets what it knew before."""
        assert self._leads()
        with self.store.read() as session:
            self.fleet.refresh(session, frozenset(), now=datetime.now(UTC))


@dataclass
class Measured:
    """One run: its length by the clock, and where processor time went."""

    tasks: int
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.tasks / self.seconds


def main() -> None:
    options = _options()
    rates: dict[str, dict[int, list[Measured]]] = {}
    for database in options.databases:
        with _database(database) as url:
            rates[database] = {
                size: [_run(url, database, size) for _ in range(runs)]
                for size, runs in SIZES.items()
                if size <= options.most
            }
    judged = min(JUDGED, options.most)
    slowest = min(rates, key=lambda name: _median(rates[name][judged]))
    report_values(FIGURE, [each.rate for each in rates[slowest][judged]], _told(rates))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=max(SIZES), help="largest number of tasks")
    parser.add_argument(
        "--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"]
    )
    return parser.parse_args()


def _told(rates: dict[str, dict[int, list[Measured]]]) -> dict[str, object]:
    return {
        "hosts": HOSTS,
        "tasks_per_second": {
            name: {size: round(_median(runs)) for size, runs in by_size.items()}
            for name, by_size in rates.items()
        },
        "cpu_us_per_task": {
            name: {
                size: {step: _microseconds(runs, step) for step in runs[0].cpu}
                for size, runs in by_size.items()
            }
            for name, by_size in rates.items()
        },
    }


def _median(runs: list[Measured]) -> float:
    return statistics.median(each.rate for each in runs)


def _microseconds(runs: list[Measured], step: str) -> float:
    return round(statistics.median(each.cpu[step] / each.tasks * 1e6 for each in runs), 1)


@contextmanager
def _database(kind: str) -> Iterator[Callable[[], str]]:
    """URLs of new databases."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fw-commit-")))
        if kind == "sqlite":
            number = iter(range(1_000))
            yield lambda: f"sqlite:///{folder}/{next(number)}.db"
            return
        server = Postgres(folder, **DURABLE)
        server.start()
        stack.callback(server.stop)
        yield server.database


def _run(new_url: Callable[[], str], name: str, tasks: int) -> Measured:
    store = Store.open(new_url())
    try:
        migrate.upgrade(store.engine)
        _fill(store, tasks)
        measured = asyncio.run(_measure(store, tasks))
        _check(store, tasks)
    finally:
        store.engine.dispose()
    steps = ", ".join(f"{step} {spent / tasks * 1e6:.0f}" for step, spent in measured.cpu.items())
    say(f"  {name}, {tasks:,} tasks: {measured.rate:,.0f}/s; processor us a task: {steps}")
    return measured


async def _measure(store: Store, tasks: int) -> Measured:
    placer = Told(store, cast("Client", None))
    measured = Measured(tasks)
    placer.begin()
    _watch(measured, placer)
    gc.collect()
    began, spent = perf_counter(), process_time()
    while await placer.tick():
        pass
    measured.seconds = perf_counter() - began
    whole = process_time() - spent
    measured.cpu["rest"] = whole - sum(measured.cpu.values())
    measured.cpu["all"] = whole
    return measured


def _watch(measured: Measured, placer: Told) -> None:
    """Note the processor time of each step of a tick."""
    steps: tuple[tuple[str, Any, str], ...] = (
        ("read tasks", placer.queue, "refresh"),
        ("read hosts", placer.fleet, "refresh"),
        ("commit", placer, "_commit"),
        ("deliver", placer, "_deliver_some"),
    )
    for step, owner, name in steps:
        measured.cpu[step] = 0.0
        setattr(owner, name, _timed(measured, step, getattr(owner, name)))


def _timed(measured: Measured, step: str, work: Callable[..., Any]) -> Callable[..., Any]:
    if asyncio.iscoroutinefunction(work):

        async def waited(*args: Any, **more: Any) -> Any:
            before = process_time()
            answer = await work(*args, **more)
            measured.cpu[step] += process_time() - before
            return answer

        return waited

    def timed(*args: Any, **more: Any) -> Any:
        before = process_time()
        answer = work(*args, **more)
        measured.cpu[step] += process_time() - before
        return answer

    return timed


def _check(store: Store, tasks: int) -> None:
    """Everything is placed, told, and kept as an event; no host has more than it offers."""
    with store.read() as session:
        assert scheduling.work(session) == (False, False)
        launched = select(func.count()).where(AttemptRow.state == TaskState.LAUNCHED)
        assert session.exec(launched).one() == tasks
        assert session.exec(select(func.count(col(EventRow.seq)))).one() >= tasks
        for taken in hosts.taken(session).values():
            assert taken.cpu_milli <= CORES * 1000
            assert taken.memory_bytes <= MEMORY_GIB * GIB


def _fill(store: Store, tasks: int) -> None:
    """Hosts, and jobs of one task each as their workflows leave them."""
    now = datetime.now(UTC)
    with store.write() as session:
        _insert(session, HostRow, [_host(number, now) for number in range(HOSTS)])
        draw = random.Random(tasks)
        headers = [_header(number, draw) for number in range(tasks)]
        _insert(session, JobRow, [_job(n + 1, each, now) for n, each in enumerate(headers)])
        _insert(session, WaiterRow, [_waiter(n + 1, each, now) for n, each in enumerate(headers)])
        _insert(session, AttemptRow, [_attempt(n + 1, each, now) for n, each in enumerate(headers)])
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _insert(session: Session, table: Any, rows: list[dict[str, Any]]) -> None:
    session.connection().execute(insert(table), rows)


def _host(number: int, now: datetime) -> dict[str, Any]:
    return {
        "host_id": f"h{number:05d}",
        "state": HostState.ACTIVE,
        "cpu_milli": CORES * 1000,
        "memory_bytes": MEMORY_GIB * GIB,
        "labels": {"zone": "abc"[number % 3]},
        "registered_at": now,
        "seen_at": now,
    }


def _header(number: int, draw: random.Random) -> JobHeader:
    cpu, memory = draw.choice(SHAPES)
    container = ContainerSpec.model_validate(
        {
            "image": "apps/web:1",
            "command": ["serve", "--number", str(number)],
            "env": {f"NAME_{each}": "value" for each in range(8)},
            "resources": {"cpu": cpu, "memory": f"{memory}GiB"},
        }
    )
    return JobHeader(
        workflow_id=f"task/{number}",
        run_id="r",
        kind=JobKind.TASK,
        app="web",
        container=container,
        retry=RetryPolicy(),
    )


def _job(number: int, header: JobHeader, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "workflow_id": header.workflow_id,
        "run_id": header.run_id,
        "kind": header.kind,
        "app": header.app,
        "state": TaskState.ACCEPTED,
        "image": "apps/web@sha256:" + "0" * 64,
        "spec": (spec := header.model_dump(mode="json")),
        "asks": job_shapes.asks(spec["container"]),
        "created_at": now,
    }


def _waiter(number: int, header: JobHeader, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "job_id": number,
        "workflow_id": header.workflow_id,
        "run_id": header.run_id,
        "activity_id": "1",
        "created_at": now,
    }


def _attempt(number: int, header: JobHeader, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "job_id": number,
        "waiter_id": number,
        "state": TaskState.ACCEPTED,
        "cpu_milli": header.container.resources.cpu_milli,
        "memory_bytes": int(header.container.resources.memory),
        "accepted_at": now,
    }


if __name__ == "__main__":
    main()

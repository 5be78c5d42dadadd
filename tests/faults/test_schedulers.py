"""Schedulers that die at each step of a tick, stand still, or are two: no host gets too much.

Duplicates (attempts launched twice), lost ones (never told) and over-commit are counted: all are 0.
"""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import col, select

from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    JobHeader,
    JobKind,
)
from fleetwide.models.hosts import HostSpec
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import hosts, jobs, scheduler_lease
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, EventRow, JobRow
from tests.faults.scheduler_process import STEPS
from tests.platforms import eventually

pytestmark = pytest.mark.timeout(180)

HOSTS, CPUS, TASKS = 3, 4, 30
ROOM = HOSTS * CPUS
Process = subprocess.Popen[bytes]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    fill(opened)
    yield opened
    opened.engine.dispose()


def fill(store: Store) -> None:
    """More tasks than there is room for."""
    now = datetime.now(UTC)
    container = {"image": "apps/x:1", "resources": {"cpu": 1, "memory": "64MiB"}}
    with store.write() as session:
        for number in range(HOSTS):
            spec = {"host_id": f"h{number}", "cpu": CPUS, "memory": "8GiB"}
            hosts.register(session, HostSpec.model_validate(spec), now=now)
        for number in range(TASKS):
            header = JobHeader(
                workflow_id=f"task/{number}",
                run_id="r",
                kind=JobKind.TASK,
                app="x",
                container=ContainerSpec.model_validate(container),
                retry=RetryPolicy(),
            )
            job = jobs.ensure(session, header, "apps/x@sha256:0", now=now)
            waiter = jobs.ensure_waiter(session, job, "r", "1", now=now)
            jobs.ensure_attempts(session, job, header, [AttemptRequest(index=0)], waiter, now=now)


@contextmanager
def scheduler(url: str, name: str, told: Path, step: str = "") -> Iterator[Process]:
    words = [sys.executable, "-m", "tests.faults.scheduler_process", url, name, str(told), step]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def running(store: Store) -> dict[str, str]:
    """Workflow id to host, of what holds a reservation."""
    query = (
        select(JobRow.workflow_id, AttemptRow.host_id)
        .join(AttemptRow, col(AttemptRow.job_id) == JobRow.id)
        .where(col(AttemptRow.reserved).is_(True))
    )
    with store.read() as session:
        return {name: str(host_id) for name, host_id in session.exec(query)}


def told(file: Path) -> dict[str, set[str]]:
    """Workflow id to the hosts that it was told: a second telling must say the same."""
    found: dict[str, set[str]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        name, placed, _ = json.loads(line)
        found.setdefault(name, set()).update(host_id for _, host_id in placed)
    return found


def end(store: Store, names: list[str]) -> None:
    now = datetime.now(UTC)
    with store.write() as session:
        for name in names:
            key = AttemptKey(workflow_id=name, run_id="r", index=0)
            ended = AttemptResult(key=key, reason=EndReason.NORMAL, message="ok", exit_code=0)
            jobs.record_attempt(session, ended, now=now)


def holder(store: Store) -> str:
    with store.read() as session:
        lease = scheduler_lease.look(session)
    return lease.holder if lease is not None and lease.held else ""


def freeze(store: Store, process: Process) -> None:
    """Stop a scheduler between two of its writes: a SQLite file has one writer, frozen or not."""
    while True:
        process.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(touch, store)
            if not wait([written], timeout=2).not_done:
                return
            process.send_signal(signal.SIGCONT)


def touch(store: Store) -> None:
    with store.write() as session:
        session.connection()


def all_told(store: Store, file: Path, count: int) -> bool:
    there = running(store)
    return len(there) == count and there.keys() <= told(file).keys()


def run_to_the_end(store: Store, file: Path) -> None:
    """As tasks end the others get their places; at no moment a host has more than it offers."""
    places: dict[str, set[str]] = {}

    def over() -> bool:
        there = running(store)
        assert max(Counter(there.values()).values(), default=0) <= CPUS
        for name, host_id in there.items():
            places.setdefault(name, set()).add(host_id)
        end(store, [name for name in there if name in told(file)])
        return len(told(file)) == TASKS and not there

    eventually(over, 120, "the end of all tasks")
    assert all(found <= told(file)[name] for name, found in places.items())
    assert all(len(hosts_told) == 1 for hosts_told in told(file).values())
    with store.read() as session:
        events = session.exec(select(EventRow)).all()
    launched = Counter(e.subject for e in events if e.data.get("state") == TaskState.LAUNCHED)
    assert launched == {f"task/{number}": 1 for number in range(TASKS)}


@pytest.mark.parametrize("step", STEPS)
def test_a_scheduler_killed_at_any_step_over_commits_and_forgets_nothing(
    store: Store, database_url: str, tmp_path: Path, step: str
) -> None:
    file = tmp_path / "told"
    with ExitStack() as stack:
        first = stack.enter_context(scheduler(database_url, "first", file, step))
        assert first.wait(60) == -signal.SIGKILL
        stack.enter_context(scheduler(database_url, "second", file))
        run_to_the_end(store, file)


def test_a_leader_that_stands_still_is_replaced_and_writes_nothing_when_it_wakes(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    with ExitStack() as stack:
        names = ("one", "two", "three")
        all_three = {
            name: stack.enter_context(scheduler(database_url, name, file)) for name in names
        }
        eventually(lambda: all_told(store, file, ROOM), 60, "the first tasks told")
        stopped = holder(store)
        freeze(store, all_three[stopped])
        eventually(lambda: holder(store) not in ("", stopped), 60, "another leader")
        end(store, list(running(store))[:CPUS])
        eventually(lambda: len(told(file)) == ROOM + CPUS, 60, "places taken again")
        all_three[stopped].send_signal(signal.SIGCONT)
        run_to_the_end(store, file)
        assert all(process.poll() is None for process in all_three.values())

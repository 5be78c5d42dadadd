"""Devices and ports over many commits by two schedulers that know nothing of each other.

Whatever is accepted, placed, ended and registered anew in between: nothing of a host is given twice.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
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
from fleetwide.models.task_states import EndReason
from fleetwide.store import hosts, jobs, launches, migrate
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.kept_fleet import KeptFleet
from fleetwide.store.launches import Launch
from fleetwide.store.pending import Queue
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MB = 1000**2
GB = 1000**3
FIRST_PORT, LAST_PORT = 20_000, 20_007
TABLES = ("freed_host", "event", "attempt", "waiter", "job", "host")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("grants")
    opened = Store.open(f"sqlite:///{folder / 'fleet.db'}")
    migrate.upgrade(opened.engine)
    yield opened
    opened.engine.dispose()


def clear(store: Store) -> None:
    with store.write() as session:
        for table in TABLES:
            session.connection().execute(text(f"DELETE FROM {table}"))


class Scheduler:
    """What the scheduler's process keeps between ticks, without Temporal."""

    def __init__(self) -> None:
        shapes = JobShapes()
        self.fleet = KeptFleet(shapes)
        self.queue = Queue(shapes)

    def look(self, store: Store, now: datetime) -> None:
        with store.read() as session:
            self.queue.refresh(session, now=now)
            self.fleet.refresh(session, self.queue.images, now=now)

    def act(self, store: Store, now: datetime) -> None:
        """Decide on what was last looked at, and write it."""
        made = self.fleet.engine.decide(self.queue.requests)
        wanted = []
        for each in made.decisions:
            entry = self.queue.entries[each.request_id]
            shape = entry.request.shape
            ports = bool(shape.ports or shape.any_ports)
            wanted.append(
                Launch(
                    each.request_id,
                    each.host_id,
                    entry.workflow_id,
                    entry.child,
                    entry.attempt,
                    each.gpus,
                    ports,
                )
            )
        with store.write() as session:
            done = launches.commit(session, wanted, self.fleet.versions, now=now)
            self.fleet.remove_notes(session)
        self.fleet.committed(done, wanted)


def offer(store: Store, name: str, gpus: list[str]) -> None:
    spec = HostSpec.model_validate(
        {
            "host_id": name,
            "cpu": 8,
            "memory": "8GiB",
            "disk": 4 * GB,
            "network": 1000,
            "gpus": gpus,
            "first_port": FIRST_PORT,
            "last_port": LAST_PORT,
        }
    )
    with store.write() as session:
        hosts.register(session, spec, now=NOW)


def accept(store: Store, number: int, resources: dict[str, Any], count: int) -> None:
    container = {"image": "apps/x:1", "resources": resources}
    header = JobHeader(
        workflow_id=f"batch/{number}",
        run_id="r",
        kind=JobKind.BATCH,
        app="x",
        container=ContainerSpec.model_validate(container),
        retry=RetryPolicy(),
    )
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        wanted = [AttemptRequest(index=index) for index in range(count)]
        jobs.ensure_attempts(session, job, header, wanted, waiter, now=NOW)


def end_one(store: Store, which: int, now: datetime) -> None:
    with store.write() as session:
        query = (
            select(AttemptRow, JobRow)
            .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
            .where(col(AttemptRow.reserved).is_(True))
        )
        there = session.exec(query.order_by(col(AttemptRow.id))).all()
        if there:
            row, job = there[which % len(there)]
            key = AttemptKey(workflow_id=job.workflow_id, run_id="r", index=row.index)
            ended = AttemptResult(key=key, reason=EndReason.NORMAL, message="", exit_code=0)
            jobs.record_attempt(session, ended, now=now)


RESOURCES = st.fixed_dictionaries(
    {
        "cpu": st.sampled_from([0.5, 1, 2]),
        "memory": st.sampled_from(["64MiB", "1GiB"]),
        "disk": st.sampled_from(["64MB", "500MB", "2GB"]),
        "network": st.sampled_from([0, 100, 600]),
        "gpus": st.integers(0, 2),
        "ports": st.sampled_from(
            [
                {},
                {"http": {}},
                {"http": {}, "admin": {}, "debug": {}},
                {"http": {"static": FIRST_PORT + 1}},
                {"http": {"static": 8080}, "any": {}},
            ]
        ),
    }
)
DEVICES = st.lists(st.sampled_from(["g0", "g1", "g2", "g3"]), unique=True, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), RESOURCES, st.integers(1, 4)),
        st.tuples(st.just("look"), st.integers(0, 1)),
        st.tuples(st.just("act"), st.integers(0, 1)),
        st.tuples(st.just("end"), st.integers(0, 50)),
        st.tuples(st.just("register"), st.sampled_from(["h1", "h2"]), DEVICES),
    ),
    min_size=5,
    max_size=40,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_nothing_of_a_host_is_given_twice(store: Store, steps: list[tuple[Any, ...]]) -> None:
    clear(store)
    offer(store, "h1", ["g0", "g1", "g2"])
    offer(store, "h2", [])
    schedulers = [Scheduler(), Scheduler()]
    accepted, now = 0, NOW
    for step, *details in steps:
        now += timedelta(seconds=1)
        if step == "accept":
            accepted += 1
            accept(store, accepted, *details)
        elif step == "look":
            schedulers[details[0]].look(store, now)
        elif step == "act":
            schedulers[details[0]].act(store, now)
        elif step == "end":
            end_one(store, details[0], now)
        else:
            offer(store, *details)
        check(store)
    last = Scheduler()
    last.look(store, now)
    last.act(store, now)
    check(store)


def check(store: Store) -> None:
    with store.read() as session:
        rows = session.exec(select(AttemptRow).where(col(AttemptRow.reserved).is_(True))).all()
        there = {host.host_id: host for host in session.exec(select(HostRow))}
    devices = Counter((row.host_id, device) for row in rows for device in row.devices)
    ports = Counter((row.host_id, port) for row in rows for port in row.ports.values())
    assert not [each for each, count in (devices + ports).items() if count > 1]
    for row in rows:
        assert len(row.devices) == row.gpus
    for name, host in there.items():
        mine = [row for row in rows if row.host_id == name]
        assert sum(row.cpu_milli for row in mine) <= host.cpu_milli
        assert sum(row.memory_bytes for row in mine) <= host.memory_bytes
        assert sum(row.disk_bytes for row in mine) <= (host.disk_bytes or 0)
        assert sum(row.network_mbps for row in mine) <= (host.network_mbps or 0)


def test_a_port_is_chosen_from_the_hosts_range_and_the_next_attempt_begins_elsewhere(
    store: Store,
) -> None:
    clear(store)
    offer(store, "h1", [])
    ports = {"http": {}, "fixed": {"static": 9000}}
    accept(store, 1, {"cpu": 1, "memory": "64MiB", "disk": "64MB", "ports": ports}, 1)
    accept(store, 2, {"cpu": 1, "memory": "64MiB", "disk": "64MB", "ports": ["http"]}, 1)
    scheduler = Scheduler()
    scheduler.look(store, NOW)
    scheduler.act(store, NOW)
    with store.read() as session:
        given = [row.ports for row in session.exec(select(AttemptRow)).all()]
    assert given[0]["fixed"] == 9000
    chosen = [each["http"] for each in given]
    assert len(set(chosen)) == 2
    assert all(FIRST_PORT <= port <= LAST_PORT for port in chosen)

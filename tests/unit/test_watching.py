"""What the scheduler takes from the hosts' reports."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock

import pytest
from sqlalchemy import event

from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    ContainerSpec,
    JobHeader,
    JobKind,
)
from fleetwide.models.hosts import ContainerReport, HostReport, HostSpec
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import TaskState
from fleetwide.store import hosts, jobs
from fleetwide.store.session import Store
from workers.watching import Watcher

GOOD, BAD = "h1", "h2"


class ScriptedWatcher(Watcher):
    """Hears ``reports``; what another host tells cannot be read."""

    reports: dict[str, HostReport]

    async def _read(self, host_id: str) -> HostReport | None:
        return self.reports[host_id]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    with opened.write() as session:
        for name in (GOOD, BAD):
            spec = HostSpec.model_validate({"host_id": name, "cpu": 4, "memory": "4GiB"})
            hosts.register(session, spec, now=datetime.now(UTC))
    yield opened
    opened.engine.dispose()


def add(store: Store, name: str) -> AttemptKey:
    header = JobHeader(
        workflow_id=f"task/{name}",
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=ContainerSpec.model_validate({"image": "apps/x:1"}),
        retry=RetryPolicy(),
    )
    now = datetime.now(UTC)
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=now)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=now)
        [row] = jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=now)
        row.state, row.host_id, row.reserved = "Launched", GOOD, True
        session.add(row)
    return AttemptKey(workflow_id=header.workflow_id, run_id="r")


def told(keys: list[AttemptKey]) -> HostReport:
    now = datetime.now(UTC)
    states = [ContainerReport(key=key, state=TaskState.STARTED, since=now) for key in keys]
    return HostReport(host_id=GOOD, docker_version="27.0", containers=states)


async def test_a_report_that_cannot_be_read_keeps_no_other_from_being_heard(store: Store) -> None:
    key = add(store, "a")
    watcher = ScriptedWatcher(store, MagicMock())
    watcher.reports = {GOOD: told([key])}
    await watcher.watch_hosts()
    with store.read() as session:
        row = jobs.find_attempt(session, key)
        assert row is not None
        assert row.state == TaskState.STARTED


async def test_what_is_known_costs_as_many_queries_for_one_container_as_for_many(
    store: Store,
) -> None:
    keys = [add(store, str(number)) for number in range(5)]
    watcher = ScriptedWatcher(store, MagicMock())
    watcher.reports = {GOOD: told(keys)}
    await watcher.watch_hosts()
    costs = []
    for reported in (keys[:1], keys):
        watcher.reports = {GOOD: told(reported)}
        said: list[str] = []

        def note(*words: Any, said: list[str] = said) -> None:
            said.append(words[2])

        for engine in {store.engine, store._reader, store._writer}:
            event.listen(engine, "before_cursor_execute", note)
        await watcher.watch_hosts()
        costs.append(len(said))
        for engine in {store.engine, store._reader, store._writer}:
            event.remove(engine, "before_cursor_execute", note)
    assert costs[0] == costs[1] > 0

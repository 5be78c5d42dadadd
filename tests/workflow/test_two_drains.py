"""Two hosts drained at once: what runs on them moves elsewhere, and no budget is broken."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import select

from fleetwide.models.containers import AttemptKey
from fleetwide.models.hosts import ContainerReport, HostSpec, HostState
from fleetwide.models.task_states import TaskState
from fleetwide.store import events, hosts, jobs
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow, JobRow
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.serving import service, serving, until_ready
from tests.workflow.world import HOST, World, job

DRAINED, FREE = (HOST, "h2"), "h3"
COPIES = 3
ONE_AWAY = {"disruption_budget": {"policy": {"unhealthy_limit": {"copies": 1}}}}
WHY = {"by": "ana", "reason": "a newer system"}


@asynccontextmanager
async def on_hosts(plane: World) -> AsyncIterator[None]:
    """Two hosts with ``Host`` workflows, and who tells that what was launched has started."""
    host = plane.host
    activities: list[Callable[..., Any]] = [host.run_container, host.describe, host.watch]
    more = [WorkerRole(f"host.{one}", activities=activities) for one in ("h2", FREE)]
    async with make_worker(plane.client, more[0]), make_worker(plane.client, more[1]):
        starting = asyncio.create_task(_tell_starts(plane.store))
        for one in DRAINED:
            await plane.start("Host", _spec(one), f"host/{one}")
        await plane.until(lambda: all(_state(plane, one) == "Active" for one in DRAINED))
        try:
            yield
        finally:
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting


def _spec(host_id: str) -> dict[str, object]:
    return {"host_id": host_id, "cpu": 1, "memory": "4GiB"}


async def _tell_starts(store: Store) -> None:
    while True:
        await asyncio.to_thread(_mark_started, store)
        await asyncio.sleep(0.1)


def _mark_started(store: Store) -> None:
    query = select(AttemptRow.index, AttemptRow.attempt, JobRow.workflow_id, JobRow.run_id).where(
        AttemptRow.job_id == JobRow.id, AttemptRow.state == TaskState.LAUNCHED
    )
    with store.read() as session:
        keys = [
            AttemptKey(index=index, attempt=attempt, workflow_id=workflow_id, run_id=run_id)
            for index, attempt, workflow_id, run_id in session.exec(query)
        ]
    if keys:
        now = datetime.now(UTC)
        with store.write() as session:
            for key in keys:
                report = ContainerReport(key=key, state=TaskState.STARTED, since=now)
                jobs.mark(session, report, now=now)


def _state(plane: World, host_id: str) -> str:
    with plane.store.read() as session:
        row = session.get(HostRow, host_id)
        return row.state if row else ""


def fewest(plane: World, is_one: Callable[[str], bool]) -> int:
    """The fewest that ran at a time, once all did: from the events, so no moment is missed."""
    runs, least = set[tuple[str, int, int]](), COPIES
    with plane.store.read() as session:
        told = [one for one in events.after(session, 0, limit=5000) if is_one(one.subject)]
    complete = False
    for event in told:
        if event.kind != "state":
            continue
        key = (event.subject, event.data["index"], event.data["attempt"])
        if event.data["state"] == TaskState.STARTED:
            runs.add(key)
        else:
            runs.discard(key)
        complete = complete or len(runs) == COPIES
        least = min(least, len(runs)) if complete else least
    assert complete
    return least


def _on(plane: World, host_id: str) -> int:
    with plane.store.read() as session:
        taken = hosts.taken(session).get(host_id)
        return taken.tasks if taken else 0


@pytest.mark.timeout(180)
async def test_two_hosts_drained_at_once_break_no_budget(plane: World) -> None:
    async with on_hosts(plane), serving(plane):
        batch = job("sleep", size=COPIES, cpu=0.3, **ONE_AWAY)
        array = await plane.start("BatchJob", batch, "batch/b")
        web = await plane.start(
            "ContainerService", service("sleep", desired=COPIES, **ONE_AWAY), "service/web"
        )
        await until_ready(plane, web, COPIES)
        await plane.until(lambda: sum(_on(plane, one) for one in DRAINED) == 2 * COPIES)
        with plane.store.write() as session:
            free = HostSpec.model_validate({**_spec(FREE), "cpu": 2})
            hosts.register(session, free, now=datetime.now(UTC))
        await asyncio.gather(
            *(
                plane.client.get_workflow_handle(f"host/{one}").execute_update("drain", WHY)
                for one in DRAINED
            )
        )
        await plane.until(lambda: all(_state(plane, one) == HostState.REMOVABLE for one in DRAINED))
        await plane.until(lambda: _on(plane, FREE) == 2 * COPIES)
        assert fewest(plane, lambda subject: subject == "batch/b") == COPIES - 1
        # Of a service the replacement comes first.
        assert fewest(plane, lambda subject: subject.startswith("task/web.")) >= COPIES - 1
        await array.cancel()

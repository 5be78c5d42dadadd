"""What the scheduler keeps between ticks agrees with the rows, whoever changed them."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlmodel import col, select

from fleetwide.containers.placement import Host
from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    JobHeader,
    JobKind,
)
from fleetwide.models.hosts import HostSpec, HostState, image_mark
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import fleet_picture, host_images, hosts, jobs, pending, scheduling
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.scheduler_tables import FreedHostRow
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, EventRow, HostRow
from workers.leading import Leadership
from workers.placing import Placer

NOW = datetime.now(UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


class Quiet(Placer):
    """Tells nobody: there is no Temporal here."""

    async def _deliver(self, _delivery: scheduling.Delivery) -> None:
        return None

    async def _tell_waiting(self, _now: datetime) -> None:
        return None


def placer(store: Store, name: str = "s1", seconds: float = 60) -> Quiet:
    return Quiet(store, cast("Any", None), Leadership(store, name, seconds))


def offer(store: Store, name: str, cpu: float = 4, **labels: str) -> None:
    spec = {"host_id": name, "cpu": cpu, "memory": "8GiB", "labels": labels}
    with store.write() as session:
        hosts.register(session, HostSpec.model_validate(spec), now=NOW)


def accept(store: Store, name: str, count: int = 1, cpu: float = 1, **container: Any) -> None:
    resources = {"cpu": cpu, "memory": "64MiB", **container.pop("resources", {})}
    spec = {"image": "apps/x:1", "resources": resources, **container}
    header = JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind.BATCH,
        app="x",
        container=ContainerSpec.model_validate(spec),
        retry=RetryPolicy(),
    )
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        wanted = [AttemptRequest(index=index) for index in range(count)]
        jobs.ensure_attempts(session, job, header, wanted, waiter, now=NOW)


def end(store: Store, name: str, index: int = 0) -> None:
    key = AttemptKey(workflow_id=name, run_id="r", index=index)
    result = AttemptResult(key=key, reason=EndReason.NORMAL, message="ok", exit_code=0)
    with store.write() as session:
        jobs.record_attempt(session, result, now=NOW)


def placed(store: Store) -> dict[tuple[int, int], str | None]:
    """Job and index to host, of all that holds something."""
    with store.read() as session:
        rows = session.exec(select(AttemptRow).where(col(AttemptRow.reserved).is_(True)))
        return {(row.job_id, row.index): row.host_id for row in rows}


def free(host: Host) -> tuple[Any, ...]:
    return (host.host_id, host.free, host.tasks, host.free_gpus)


async def test_a_hundred_changes_leave_the_kept_fleet_as_the_rows_are(store: Store) -> None:
    draw, one = random.Random(5), placer(store)
    for number in range(6):
        offer(store, f"h{number}", cpu=4, zone="ab"[number % 2])
    accepted = 0
    for _ in range(40):
        for _ in range(draw.randrange(3)):
            accepted += 1
            accept(store, f"batch/{accepted}", draw.randint(1, 3), cpu=draw.choice([0.5, 1, 2]))
        await one.tick()
        for number, index in placed(store):
            if draw.random() < 0.3:
                end(store, f"batch/{number}", index)
        if draw.random() < 0.2:
            offer(store, f"h{draw.randrange(6)}", cpu=draw.choice([4, 6]))
        one.fleet._compared_at = None
    with store.read() as session:
        one.fleet.refresh(session, frozenset(), now=datetime.now(UTC))
        found = fleet_picture.all_hosts(session, JobShapes(), (), now=NOW).hosts
    assert sorted(map(free, one.fleet.engine.seen())) == [free(each.host) for each in found]
    assert one.fleet.versions == {each.host.host_id: each.host.version for each in found}
    with store.read() as session:
        for host_id, taken in hosts.taken(session).items():
            row = session.get(HostRow, host_id)
            assert row is not None
            assert taken.cpu_milli <= 6000


async def test_only_hosts_that_changed_are_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    some_hosts = fleet_picture.some_hosts

    def noted(session: Any, shapes: Any, images: Any, ids: Any, *, now: datetime) -> Any:
        read.append(sorted(ids))
        return some_hosts(session, shapes, images, ids, now=now)

    monkeypatch.setattr(fleet_picture, "some_hosts", noted)
    for name in ("h1", "h2", "h3"):
        offer(store, name)
    one = placer(store)
    accept(store, "batch/1", 6)
    await one.tick()
    assert read == []
    [host_id] = {host for (_, index), host in placed(store).items() if index == 0}
    end(store, "batch/1", 0)
    accept(store, "batch/2", 1)
    await one.tick()
    assert read == [[host_id]]
    with store.read() as session:
        assert session.exec(select(FreedHostRow)).all() == []


async def test_a_host_that_is_cordoned_gets_nothing_that_was_decided_before(store: Store) -> None:
    offer(store, "h1")
    one = placer(store)
    accept(store, "batch/1")
    await one.tick()
    with store.write() as session:
        row = session.get(HostRow, "h1")
        assert row is not None
        hosts.set_state(session, row, HostState.INACTIVE, now=NOW)
    one.fleet._compared_at = datetime.now(UTC)  # it has not looked at versions since
    accept(store, "batch/2")
    await one.tick()
    assert len(placed(store)) == 1
    offer(store, "h2")
    one.fleet._compared_at = None
    await one.tick()
    assert set(placed(store).values()) == {"h1", "h2"}


async def test_a_host_that_got_the_image_meanwhile_is_preferred(store: Store) -> None:
    offer(store, "h1")
    offer(store, "h2")
    one = placer(store)
    accept(store, "batch/1")
    await one.tick()
    assert set(placed(store).values()) == {"h1"}
    with store.write() as session:
        host_images.write(session, "h2", [image_mark("apps/x@sha256:0")])
    one.fleet._compared_at = None
    accept(store, "batch/2")
    await one.tick()
    assert placed(store)[2, 0] == "h2"


async def test_many_that_fit_nowhere_keep_nobody_from_a_host(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "OLDEST", 4)
    monkeypatch.setattr(pending, "BEHIND", 3)
    monkeypatch.setattr(pending, "TURN_AFTER", timedelta(0))
    offer(store, "h1")
    accept(store, "batch/1", 20, cpu=64)
    accept(store, "batch/2", 2)
    one = placer(store)
    for _ in range(12):
        one._slow_turn = datetime.min.replace(tzinfo=UTC)
        await one.tick()
        assert len(one.queue.entries) <= 7
    assert {job for job, _ in placed(store)} == {2}
    assert len(placed(store)) == 2


async def test_each_launch_is_one_event_of_its_workflow(store: Store) -> None:
    offer(store, "h1")
    accept(store, "batch/1", 2)
    await placer(store).tick()
    with store.read() as session:
        told = session.exec(select(EventRow).where(EventRow.subject == "batch/1")).all()
    states = [each.data for each in told if each.data.get("state") == TaskState.LAUNCHED]
    assert [(each["index"], each["attempt"], each["host"]) for each in states] == [
        (0, 1, "h1"),
        (1, 1, "h1"),
    ]


async def test_who_lost_the_lease_places_nothing_and_says_so(store: Store) -> None:
    offer(store, "h1")
    old, new = placer(store, "old", seconds=0), placer(store, "new")
    accept(store, "batch/1")
    assert await old.tick()
    accept(store, "batch/2")
    assert await new.tick()
    accept(store, "batch/3")
    old.leadership._again = float("inf")  # it still believes that it leads
    assert not await old.tick()
    assert {job for job, _ in placed(store)} == {1, 2}
    assert await new.tick()
    assert {job for job, _ in placed(store)} == {1, 2, 3}

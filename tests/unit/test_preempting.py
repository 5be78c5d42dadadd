"""What was lent is taken back step by step, and whatever dies in between, nobody is asked twice."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlmodel import col, select
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.base import Waiting
from fleetwide.models.capacity_groups import CapacityGroupChange
from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.evictions import Eviction
from fleetwide.models.membership import Membership
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.task_states import EndReason, PendingCode
from fleetwide.store import capacity_groups, jobs, pending, preemptions
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, EventRow, JobRow
from tests.unit.test_kept_fleet import NOW, end, offer
from workers.leading import Leadership
from workers.placing import Placer

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Any, sqlite_template: Any) -> Iterator[Store]:
    file = tmp_path / "test.db"
    file.write_bytes(sqlite_template.read_bytes())
    opened = Store.open(f"sqlite:///{file}")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def either(database_url: str) -> Iterator[Store]:
    """On SQLite, and on PostgreSQL."""
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


class Temporal:
    """Notes who was asked to end; ``away`` lets it answer nobody."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.away = False

    def get_workflow_handle(self, workflow_id: str, **_: str) -> "Handle":
        return Handle(self, workflow_id)


class Handle:
    def __init__(self, temporal: Temporal, workflow_id: str) -> None:
        self.temporal, self.workflow_id = temporal, workflow_id

    async def signal(self, name: str, argument: Any) -> None:
        if self.temporal.away:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        if name != "waiting_for_host":
            self.temporal.asked.append((self.workflow_id, argument))


class Quiet(Placer):
    """Tells nobody of placements and waits."""

    async def _deliver(self, _delivery: Any) -> None:
        return None

    async def _tell_waiting(self, _now: datetime) -> None:
        return None

    async def look(self) -> None:
        """A tick that looks at everything."""
        self._slow_turn = self.preempting._not_before = None
        await self.tick()


def placer(store: Store, temporal: Temporal, name: str = "s1", notice: timedelta = HOUR) -> Quiet:
    return Quiet(store, cast("Any", temporal), Leadership(store, name, 60), notice)


def group(store: Store, name: str, **wanted: Any) -> None:
    change = CapacityGroupChange.model_validate({"reason": "a test", **wanted})
    with store.write() as session:
        capacity_groups.put(session, name, change, now=NOW)


def accept(
    store: Store, name: str, group: str = "default", cpu: float = 1, count: int = 1, **more: Any
) -> None:
    container = {"image": "apps/x:1", "resources": {"cpu": cpu, "memory": "64MiB"}}
    header = JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind.TASK if name.startswith("task/") else JobKind.BATCH,
        app="x",
        capacity_group=group,
        container=ContainerSpec.model_validate(container),
        retry=RetryPolicy(),
        **more,
    )
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        wanted = [AttemptRequest(index=index) for index in range(count)]
        jobs.ensure_attempts(session, job, header, wanted, waiter, now=NOW)


def rows(store: Store) -> dict[tuple[str, int], AttemptRow]:
    query = select(JobRow.workflow_id, AttemptRow).where(AttemptRow.job_id == JobRow.id)
    with store.read() as session:
        return {(name, row.index): row for name, row in session.exec(query)}


def told(store: Store, kind: str) -> list[EventRow]:
    query = select(EventRow).where(EventRow.kind == kind).order_by(col(EventRow.seq))
    with store.read() as session:
        return list(session.exec(query))


def marked(store: Store) -> list[tuple[str, int]]:
    return sorted(key for key, row in rows(store).items() if row.preempt_at is not None)


def notice_is_over(store: Store) -> None:
    with store.write() as session:
        for row in session.exec(select(AttemptRow).where(col(AttemptRow.preempt_at).is_not(None))):
            row.preempt_at = datetime.now(UTC)
            session.add(row)


async def lent(store: Store, temporal: Temporal) -> Quiet:
    """Two hosts of 4 CPUs that flexible work has filled, and one that wants 2 of its guarantee."""
    offer(store, "h1")
    offer(store, "h2")
    group(store, "web", tier="Critical", guarantee={"cpu": 4})
    accept(store, "batch/guest", cpu=2, count=4)
    one = placer(store, temporal)
    await one.look()
    accept(store, "task/own", "web", cpu=2)
    await one.look()
    return one


async def test_a_task_is_told_first_asked_when_its_notice_is_over_and_then_gives_way(
    either: Store,
) -> None:
    store, temporal = either, Temporal()
    one = await lent(store, temporal)
    [victim] = marked(store)
    [event] = told(store, "preemption")
    assert "has to leave by" in event.message
    assert "task/own of capacity group web needs it" in event.message
    await one.look()
    assert (temporal.asked, len(told(store, "preemption"))) == ([], 1)
    notice_is_over(store)
    await one.look()
    [(name, eviction)] = temporal.asked
    row = rows(store)[victim]
    assert (name, eviction) == (
        "batch/guest",
        Eviction(
            reason=EndReason.PREEMPTED,
            message=f"its place on {row.host_id} was lent and is taken back: task/own of capacity "
            "group web needs it",
            host_id=row.host_id,
            index=victim[1],
            attempt=1,
        ),
    )
    accept(store, "batch/late", cpu=1, count=4)
    await one.look()
    end(store, *victim)
    await one.look()
    assert rows(store)["task/own", 0].host_id == row.host_id
    assert len(temporal.asked) == 1


async def test_the_one_who_needs_the_place_reads_what_is_done_for_it(store: Store) -> None:
    one = await lent(store, Temporal())
    one.waits.clear()
    await one.look()
    waiting = Waiting.model_validate(rows(store)["task/own", 0].waiting)
    assert "capacity group web uses 0 of guaranteed 4 CPU" in waiting.sentence
    assert "is being cleared: 1 task of default asked to leave by" in waiting.sentence
    assert (waiting.numbers["guarantee.cpu"], waiting.numbers["used.cpu"]) == (4, 0)


async def test_what_is_free_of_a_place_is_kept_for_whom_it_is_cleared(store: Store) -> None:
    offer(store, "h1")
    group(store, "web", tier="Critical", guarantee={"cpu": 4})
    accept(store, "batch/guest", cpu=3)
    temporal = Temporal()
    one = placer(store, temporal)
    await one.look()
    accept(store, "task/own", "web", cpu=2)
    await one.look()
    accept(store, "batch/late", cpu=1)  # fits into what is free now, and would make it vain
    await one.look()
    assert rows(store)["batch/late", 0].host_id is None
    end(store, "batch/guest")
    await one.look()
    await one.look()
    assert {rows(store)[name, 0].host_id for name in ("task/own", "batch/late")} == {"h1"}


async def test_a_scheduler_that_is_killed_after_the_mark_is_followed_by_one_that_goes_on(
    store: Store,
) -> None:
    temporal = Temporal()
    await lent(store, temporal)
    before = marked(store)
    temporal.away = True
    notice_is_over(store)
    second = placer(store, temporal, "s2")
    with store.write() as session:  # the first one is dead
        session.connection().exec_driver_sql("DELETE FROM scheduler_lease")
    await second.look()  # let go by the gate, and killed before anybody heard it
    temporal.away = False
    third = placer(store, temporal, "s3")
    with store.write() as session:
        session.connection().exec_driver_sql("DELETE FROM scheduler_lease")
    await third.look()
    await third.look()
    assert marked(store) == before
    assert len(told(store, "preemption")) == 1
    assert [(name, asked.attempt) for name, asked in temporal.asked] == [("batch/guest", 1)]


async def test_a_copy_is_moved_by_its_service_and_stopped_if_it_stays(store: Store) -> None:
    temporal = Temporal()
    offer(store, "h1")
    group(store, "web", tier="Critical", guarantee={"cpu": 4})
    copy = Membership(service_id="guest", index=3, revision=1, incarnation=1)
    accept(store, f"task/{copy.task_id}", cpu=4, membership=copy)
    one = placer(store, temporal, notice=timedelta(0))
    await one.look()
    accept(store, "task/own", "web", cpu=2)
    await one.look()
    await one.look()
    await one.look()
    one.preempting._asked = {key: at - HOUR for key, at in one.preempting._asked.items()}
    await one.look()
    assert {name for name, _ in temporal.asked} == {"service/guest"}
    moves = [asked for _, asked in temporal.asked if isinstance(asked, CopyMove)]
    assert [(move.index, move.forced) for move in moves] == [(3, False), (3, True)]
    assert moves[0].reason is EndReason.PREEMPTED


async def test_a_mark_is_dropped_when_the_need_is_gone(either: Store) -> None:
    store, temporal = either, Temporal()
    one = await lent(store, temporal)
    [victim] = marked(store)
    end(store, "task/own")
    await one.look()
    assert marked(store) == []
    [event] = told(store, "preemptionCalledOff")
    assert event.data["index"] == victim[1]
    assert "its place is not needed any more" in event.message
    assert temporal.asked == []


async def test_a_fault_while_places_are_taken_back_keeps_nobody_from_a_host(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await lent(store, Temporal())

    def broken(*_: object) -> None:
        raise ValueError("a row that nobody expected")

    with monkeypatch.context() as patch:
        patch.setattr(preemptions, "marked", broken)
        end(store, "batch/guest", 0)
        await one.look()
    assert rows(store)["task/own", 0].host_id is not None


async def test_a_group_below_its_guarantee_is_left_alone(store: Store) -> None:
    offer(store, "h1")
    group(store, "web", tier="Critical", guarantee={"cpu": 4})
    group(store, "other", guarantee={"cpu": 4})
    accept(store, "batch/guest", "other", cpu=1, count=4)
    one = placer(store, Temporal())
    await one.look()
    accept(store, "task/own", "web", cpu=1)
    await one.look()
    assert marked(store) == []


async def test_who_may_not_be_disturbed_stays_and_somebody_else_is_asked(store: Store) -> None:
    budget = {"policy": {"relocation_limit": {"times": 0}}}
    offer(store, "h1")
    group(store, "web", tier="Critical", guarantee={"cpu": 4})
    accept(store, "batch/free", cpu=2)
    accept(store, "batch/kept", cpu=2, disruption_budget=budget)
    one = placer(store, Temporal())
    await one.look()
    accept(store, "task/own", "web", cpu=2)
    await one.look()
    await one.look()
    assert marked(store) == [("batch/free", 0)]


async def test_a_cap_holds_over_ticks_hosts_and_restarts_and_is_told_in_numbers(
    store: Store,
) -> None:
    offer(store, "h1")
    offer(store, "h2")
    group(store, "small", cap={"cpu": 3})
    accept(store, "batch/1", "small", cpu=1, count=2)
    await placer(store, Temporal()).look()
    with store.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE host SET state = 'Inactive' WHERE host_id = 'h1'"
        )
        session.connection().exec_driver_sql("DELETE FROM scheduler_lease")
    one = placer(store, Temporal(), "s2")
    await one.look()  # nothing waits, and it knows the caps all the same
    accept(store, "batch/2", "small", cpu=1, count=3)
    await one.tick()
    placed = [key for key, row in rows(store).items() if row.reserved]
    assert len(placed) == 3
    waiting = [Waiting.model_validate(r.waiting) for r in rows(store).values() if r.waiting]
    assert {each.code for each in waiting} == {PendingCode.ABOVE_CAPACITY_LIMIT}
    assert (waiting[0].numbers["cap.cpu"], waiting[0].numbers["used.cpu"]) == (3, 3)
    end(store, "batch/1")
    await one.look()
    assert sum(row.reserved for row in rows(store).values()) == 3


async def test_in_a_group_the_higher_priority_goes_first_and_then_the_older_one(
    store: Store,
) -> None:
    offer(store, "h1", cpu=1)
    for number, priority in ((1, 50), (2, 50), (3, 90)):
        accept(store, f"task/{number}", cpu=1, priority=priority)
    one, order = placer(store, Temporal()), []
    for _ in range(3):
        await one.look()
        [there] = [name for (name, _), row in rows(store).items() if row.reserved]
        order.append(there)
        end(store, there)
    assert order == ["task/3", "task/1", "task/2"]


async def test_many_that_wait_keep_no_critical_task_from_being_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "OLDEST", 4)
    monkeypatch.setattr(pending, "BEHIND", 1)
    offer(store, "h1", cpu=1)
    group(store, "web", tier="Critical")
    accept(store, "batch/many", cpu=64, count=30)
    accept(store, "task/flexible", cpu=1)
    accept(store, "task/low", "web", cpu=1, priority=10)
    accept(store, "task/high", "web", cpu=1)
    one = placer(store, Temporal())
    for expected in ("task/high", "task/low"):
        await one.look()
        [there] = [name for (name, _), row in rows(store).items() if row.reserved]
        assert there == expected
        end(store, there)


async def test_what_is_kept_of_groups_is_what_the_rows_say_and_caps_hold_all_along(
    store: Store,
) -> None:
    draw, temporal = random.Random(7), Temporal()
    for number in range(3):
        offer(store, f"h{number}")
    group(store, "a", tier="Critical", guarantee={"cpu": 6})
    group(store, "b", guarantee={"cpu": 2}, cap={"cpu": 10})
    group(store, "c", cap={"cpu": 5, "memory": "448MiB"})
    one = placer(store, temporal, notice=timedelta(0))
    for number in range(25):
        for name in ("a", "b", "c"):
            if draw.random() < (0.3 if name == "a" else 0.8):
                cpu, count = draw.choice([0.5, 1, 2]), draw.randint(1, 3)
                accept(store, f"batch/{name}{number}", name, cpu=cpu, count=count)
        told_before = len(told(store, "preemption"))
        await one.look()
        with store.read() as session:
            uses = capacity_groups.uses(session).by_group
        for name, use in uses.items():
            assert one.fleet.usage.of(name).vector == use.amounts
        cpu, memory = uses.get("c", capacity_groups.Use()).amounts[:2]
        assert cpu <= 5000
        assert memory <= 448 * 1024**2
        assert uses.get("b", capacity_groups.Use()).amounts[0] <= 10_000
        for event in told(store, "preemption")[told_before:]:
            assert event.data["group"] != event.subject.removeprefix("batch/")[0]
        for key, row in rows(store).items():
            if row.reserved and (row.preempt_at or draw.random() < 0.1):
                end(store, *key)
    assert told(store, "preemption")

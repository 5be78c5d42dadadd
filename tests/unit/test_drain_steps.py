"""Steps of a drain: who is asked to leave, how often, and when the next step comes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, repeat
from typing import Any, cast

import pytest
from sqlmodel import select
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.drains import again_in
from activities.fleet import FleetActivities
from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.disturbances import Refusal, RefusalCode
from fleetwide.models.host_moves import DrainProgress, DrainRequest, DrainStep
from fleetwide.models.hosts import HostSpec
from fleetwide.models.membership import Membership
from fleetwide.models.retries import RetryPolicy
from fleetwide.settings import Settings
from fleetwide.store import events, hosts, jobs
from fleetwide.store.disruption_tables import DisruptionRow
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow
from workflows.draining import pause_after

HOST = "h1"
AT_ONCE = DisruptionBudget.model_validate({"policy": {"self_managed": {"relocation_seconds": 0}}})


class Signals:
    """A client that only keeps which workflows were asked, or fails."""

    def __init__(self, fails: RPCStatusCode | None = None) -> None:
        self.asked: list[str] = []
        self.told: list[tuple[str, Any]] = []
        self.fails = fails

    def get_workflow_handle(self, workflow_id: str) -> Any:
        self._to = workflow_id
        return self

    async def signal(self, name: str, eviction: Any) -> None:
        if self.fails is not None:
            raise RPCError("no", self.fails, b"")
        self.asked.append(self._to)
        self.told.append((name, eviction))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    spec = HostSpec.model_validate({"host_id": HOST, "cpu": 4, "memory": "4GiB"})
    with opened.write() as session:
        hosts.register(session, spec, now=datetime.now(UTC))
    yield opened
    opened.engine.dispose()


def add(store: Store, name: str, budget: DisruptionBudget | None = AT_ONCE, **more: Any) -> int:
    """A task whose attempt holds something of the host; the attempt's number."""
    header = JobHeader(
        workflow_id=f"task/{name}",
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=ContainerSpec.model_validate({"image": "apps/x:1"}),
        retry=RetryPolicy(),
        disruption_budget=budget,
        **more,
    )
    now = datetime.now(UTC)
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=now)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=now)
        [row] = jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=now)
        row.state, row.host_id, row.reserved = "Launched", HOST, True
        session.add(row)
        session.flush()
        assert row.id is not None
        return row.id


def enter(store: Store, attempt: int, state: str) -> None:
    with store.write() as session:
        row = session.get(AttemptRow, attempt)
        assert row is not None
        row.state = state
        session.add(row)


async def step(
    store: Store, asked: list[int], signals: Signals | None = None, *, forced: bool = False
) -> tuple[list[str], DrainProgress]:
    """Who is asked now, and what the drain is told."""
    signals = signals or Signals()
    environment = ActivityEnvironment(client=cast("Client", signals))
    request = DrainRequest(by="EC2", reason="mend", parallel=2)
    wanted = DrainStep(host_id=HOST, request=request, asked=asked, forced=forced)
    progress = await environment.run(FleetActivities(store, Settings()).drain_step, wanted)
    return signals.asked, progress


async def test_a_task_that_did_not_hear_it_is_asked_again_before_others(store: Store) -> None:
    first, second, third = (add(store, name) for name in ("a", "b", "c"))
    asked, progress = await step(store, [])
    assert asked == ["task/a", "task/b"]
    assert (progress.left, progress.asked, progress.held_back) == (3, [first, second], 1)
    enter(store, first, "KillInitiated")
    asked, progress = await step(store, progress.asked)
    assert asked == ["task/b"]
    enter(store, second, "KillInitiated")
    asked, progress = await step(store, progress.asked)
    assert (asked, progress.asked) == ([], [first, second])
    with store.write() as session:
        row = session.get(AttemptRow, first)
        assert row is not None
        row.reserved = False
        session.add(row)
    asked, progress = await step(store, progress.asked)
    assert (asked, progress.ended) == (["task/c"], 1)
    assert progress.asked == [first, second, third]


async def test_tasks_of_a_silent_host_are_left_alone(store: Store) -> None:
    attempt = add(store, "a")
    with store.write() as session:
        row = hosts.find_locked(session, HOST)
        assert row is not None
        row.state = "Disconnected"
        session.add(row)
    asked, progress = await step(store, [attempt])
    assert (asked, progress.left, progress.connected) == ([], 1, False)


async def test_what_is_held_back_is_told_and_goes_by_force_at_the_deadline(store: Store) -> None:
    add(store, "own", None)
    asked, progress = await step(store, [])
    assert (asked, progress.held_back, progress.refusals) == ([], 1, {RefusalCode.SELF_MANAGED: 1})
    assert 518_000 < (progress.again_in or 0) <= 518_400
    asked, progress = await step(store, [], forced=True)
    assert (asked, progress.refusals) == (["task/own"], {})
    with store.read() as session:
        audited = [one.message for one in events.after(session, 0) if one.kind.endswith("Forced")]
    assert audited == ["attempt 1 is moved by force, whatever its budget says (drain by EC2: mend)"]


async def test_whom_nobody_could_tell_keeps_nothing_of_its_budget(store: Store) -> None:
    add(store, "a")
    with pytest.raises(RPCError):
        await step(store, [], Signals(RPCStatusCode.UNAVAILABLE))
    await step(store, [], Signals(RPCStatusCode.NOT_FOUND))
    with store.read() as session:
        assert session.exec(select(DisruptionRow)).all() == []


async def test_of_a_copy_its_service_is_asked(store: Store) -> None:
    member = Membership(service_id="web", index=4, revision=1, incarnation=1)
    add(store, member.task_id, None, membership=member)
    signals = Signals()
    asked, _ = await step(store, [], signals, forced=True)
    [(name, move)] = signals.told
    assert (asked, name, move.index, move.forced) == (["service/web"], "move", 4, True)
    assert (move.host_id, move.reason) == (HOST, "hostDraining")


def pauses(progress: DrainProgress) -> list[float]:
    """While nothing changes."""
    steps = accumulate(repeat(0.5, 40), lambda pause, _: pause_after(progress, progress, pause))
    return list(steps)


def test_the_steps_of_a_drain_become_rare_while_nothing_changes() -> None:
    assert pauses(DrainProgress(left=1, moving=1))[-1] == 15
    assert pauses(DrainProgress(left=1, connected=False))[-1] == 600
    assert pauses(DrainProgress(left=1, held_back=1))[-1] == 240
    assert pauses(DrainProgress(left=1, held_back=1, again_in=40))[1:3] == [40, 40]
    assert pauses(DrainProgress(left=1, held_back=1, again_in=9000))[-1] == 600
    asked = DrainProgress(left=2, asked=[1], moving=1)
    assert pause_after(DrainProgress(left=2), asked, 240) == 2


def test_it_is_known_when_to_ask_again_unless_one_may_go_at_any_time() -> None:
    now = datetime(2026, 3, 4, 12, tzinfo=UTC)

    def refused(code: str, seconds: float | None) -> Refusal:
        until = None if seconds is None else now + timedelta(seconds=seconds)
        return Refusal(attempt_id=1, code=RefusalCode(code), sentence="x", until=until)

    closed, own = refused("windowClosed", 300), refused("selfManaged", 60)
    assert again_in([closed, own, refused("relocationLimit", None)], now) == 60
    assert again_in([closed, refused("tooFewHealthy", None)], now) is None
    assert again_in([refused("relocationLimit", None)], now) is None
    assert again_in([], now) is None

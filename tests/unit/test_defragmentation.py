"""Denser packing and rotation in SQL: what budgets keep, what is left alone, what is told ahead."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.disturbances import Cause, RefusalCode
from fleetwide.models.host_moves import HostChange
from fleetwide.models.hosts import HostSpec, HostState
from fleetwide.models.relocation_documents import RelocationDocument
from fleetwide.models.retries import RetryPolicy
from fleetwide.settings import Settings
from fleetwide.store import (
    clock,
    defragmentation,
    disruption_views,
    hosts,
    jobs,
    pool_rotation,
    pools,
    standings,
)
from fleetwide.store.defragmentation import BY, Round
from fleetwide.store.disruption_views import Plans
from fleetwide.store.pool_tables import PoolMachineRow
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow

HOSTS = ("h-1", "h-2")
AT_ONCE = DisruptionBudget.model_validate({"policy": {"self_managed": {"relocation_seconds": 0}}})
RULES = defragmentation.rules_of(Settings(defragmentation_deadline=600))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Two hosts that have room for two tasks each."""
    opened = Store.open(database_url)
    with opened.write() as session:
        for name in HOSTS:
            spec = HostSpec.model_validate({"host_id": name, "cpu": 2, "memory": "2GiB"})
            hosts.register(session, spec, now=clock.now(session))
    yield opened
    opened.engine.dispose()


def add(store: Store, name: str, host: str, budget: DisruptionBudget | None = AT_ONCE) -> None:
    """A task that runs on a host."""
    asks = {"image": "apps/x:1", "resources": {"cpu": 1, "memory": "256MiB"}}
    header = JobHeader(
        workflow_id=f"task/{name}",
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=ContainerSpec.model_validate(asks),
        retry=RetryPolicy(),
        disruption_budget=budget,
    )
    with store.write() as session:
        now = clock.now(session)
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=now)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=now)
        [row] = jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=now)
        row.state, row.host_id, row.reserved = "Started", host, True
        row.started_at = now
        row.cpu_milli, row.memory_bytes = 1000, 256 * 1024**2
        session.add(row)


def stand(store: Store, host: str, wanted: HostState, *, ago: timedelta = timedelta(0)) -> None:
    """Defragmentation wanted this of a host, so long ago."""
    change = HostChange(host_id=host, wanted=wanted, by=BY, reason="it is empty")
    with store.write() as session:
        standings.change(session, change, now=clock.now(session) - ago)


def look(store: Store) -> Round:
    with store.read() as session:
        return defragmentation.next_round(session, RULES, now=clock.now(session))


def test_a_round_empties_the_host_that_loses_the_least(store: Store) -> None:
    """The task that started last has done the least."""
    add(store, "a", "h-1")
    add(store, "b", "h-2")
    seen = look(store)
    with store.read() as session:
        request = defragmentation.request(session, seen, RULES)
        told = defragmentation.document(session, seen, RULES)
    assert request is not None
    assert (request.cause, request.force) == (Cause.DEFRAGMENTATION, False)
    assert (request.parallel, request.deadline_seconds) == (2, 600)
    assert (told.host_id, told.hosts, told.used) == ("h-2", 2, 2)
    assert [(one.workflow_id, one.host_id) for one in told.moves] == [("task/b", "h-1")]
    assert told.sentence == (
        "empty host h-2: its task has room on hosts that are used, and it is free then"
    )


def test_what_its_budget_holds_for_longer_keeps_its_host(store: Store) -> None:
    add(store, "a", "h-1", budget=None)
    add(store, "b", "h-2")
    seen = look(store)
    assert seen.freed is not None
    assert seen.freed.emptying.host_id == "h-2"
    [kept] = seen.kept
    assert kept.host_id == "h-1"
    assert kept.sentence.startswith("task/a stays: its owner has until")


def test_a_host_that_was_tried_is_left_alone_for_a_while(store: Store) -> None:
    add(store, "a", "h-1")
    add(store, "b", "h-2")
    stand(store, "h-2", HostState.ACTIVE, ago=timedelta(minutes=50))
    first = look(store)
    assert first.freed is not None
    assert first.freed.emptying.host_id == "h-1"
    assert [one.host_id for one in first.kept] == ["h-2"]
    stand(store, "h-2", HostState.ACTIVE, ago=timedelta(minutes=70))
    again = look(store)
    assert again.freed is not None
    assert again.freed.emptying.host_id == "h-2"


def test_one_host_at_a_time_and_one_that_is_forgotten_is_given_back(store: Store) -> None:
    add(store, "b", "h-2")
    stand(store, "h-1", HostState.INACTIVE)
    seen = look(store)
    assert seen.freed is None
    assert seen.under_way is not None
    assert seen.under_way.host_id == "h-1"
    stand(store, "h-1", HostState.INACTIVE, ago=timedelta(minutes=21))
    assert look(store).stuck == ("h-1",)


def test_nothing_is_moved_while_a_host_is_away(store: Store) -> None:
    add(store, "a", "h-1")
    add(store, "b", "h-2")
    with store.write() as session:
        host = HostRow(
            host_id="h-3",
            state=HostState.DISCONNECTED,
            cpu_milli=1000,
            memory_bytes=1,
            registered_at=clock.now(session),
            seen_at=clock.now(session),
        )
        session.add(host)
    seen = look(store)
    assert (seen.freed, seen.silent) == (None, 1)


def test_plans_of_the_next_hosts_of_a_rotation_are_published_ahead(store: Store) -> None:
    notice = {"policy": {"self_managed": {"relocation_seconds": 3600}}}
    add(store, "a", "h-1", DisruptionBudget.model_validate(notice))
    with store.write() as session:
        now = clock.now(session)
        row = PoolMachineRow(machine_id="h-1", pool="p", type="small", launched_at=now)
        session.add(row)
    due = {"h-1": "it is older than 30 days"}
    for _ in range(2):
        with store.write() as session:
            pool_rotation.note(session, "p", due)
            pool_rotation.announce(session, ["h-1"], by="host pool", reason="p: it is old")
    [plan] = plans(store)
    assert (plan.cause, plan.by, plan.let_go_at) == (Cause.ROTATION, "host pool", None)
    assert plan.refusal is not None
    assert plan.refusal.code is RefusalCode.WAITS_FOR_ITS_TURN
    assert state_of(store) == "Started"
    with store.read() as session:
        [machine] = pools.machines_of(session, "p")
        assert machine.row.rotates == due["h-1"]
        why = disruption_views.why_not_moved(session, "task/a", 0, now=clock.now(session))
        assert "rotation by host pool: p: it is old" in why.sentence
        assert why.refusal is not None
        assert why.refusal.code is RefusalCode.SELF_MANAGED
    with store.write() as session:
        pool_rotation.note(session, "p", {})
    assert plans(store) == []


def plans(store: Store) -> list[RelocationDocument]:
    with store.read() as session:
        return disruption_views.listing(session, Plans(host_id="h-1"), now=now_of(store))


def now_of(store: Store) -> datetime:
    with store.read() as session:
        return clock.now(session)


def state_of(store: Store) -> str:
    with store.read() as session:
        [job] = [jobs.find(session, "task/a")]
        assert job is not None
        [row] = jobs.attempts(session, job.id or 0)
        assert isinstance(row, AttemptRow)
        return row.state

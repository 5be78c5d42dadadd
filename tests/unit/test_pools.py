"""Pools in SQL: what is seen of machines, and what a look of before may not write."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.errors import Conflict
from fleetwide.models.hosts import HostSpec, HostState
from fleetwide.models.pools import (
    HostPoolSpec,
    Machine,
    MachineState,
    PoolDrain,
    PoolEnd,
    PoolMachine,
    PoolTurn,
)
from fleetwide.providers import local_machines
from fleetwide.store import hosts, pool_offers, pools
from fleetwide.store.session import Store
from fleetwide.store.tables import HostRow

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
SMALL = {"name": "small", "cpu": 2, "memory": "4GiB"}
SPEC = HostPoolSpec.model_validate({"name": "web", "provider": "local", "types": [SMALL]})
TURN = PoolTurn(spec=SPEC, workflow_id="pool/web", run_id="r")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def machine(state: MachineState = MachineState.RUNNING) -> Machine:
    return Machine(id="m-1", type="small", state=state, launched_at=NOW)


def look(store: Store, listed: list[Machine], now: datetime) -> list[PoolMachine]:
    with store.write() as session:
        row = pools.ensure(session, TURN, now=now)
        session.flush()
        return pools.observed(session, row, listed, now=now)


def join(store: Store, **offered: object) -> None:
    spec = HostSpec.model_validate({"host_id": "m-1", "cpu": 2, "memory": "3GiB", **offered})
    with store.write() as session:
        hosts.register(session, spec, now=NOW + timedelta(seconds=30))


def test_a_machine_that_is_not_listed_yet_counts_and_later_it_is_gone(store: Store) -> None:
    look(store, [machine()], NOW)
    [young] = look(store, [], NOW + timedelta(seconds=30))
    assert young.machine.state is MachineState.PENDING
    [old] = look(store, [], LATER)
    assert old.machine.state is MachineState.GONE


def test_an_end_that_did_not_come_to_pass_is_taken_back(store: Store) -> None:
    look(store, [machine()], NOW)
    with store.write() as session:
        pools.ended(session, "web", ["m-1"], PoolEnd.SURPLUS, now=NOW)
    assert look(store, [machine()], NOW + timedelta(seconds=30)) == []
    [back] = look(store, [machine()], LATER)
    assert back.machine.id == "m-1"


def test_a_drain_that_somebody_ended_is_not_waited_for(store: Store) -> None:
    look(store, [machine()], NOW)
    join(store)
    with store.write() as session:
        drain = PoolDrain(pool="web", machines=["m-1"], reason="surplus")
        pools.drains(session, drain, now=NOW)
        row = session.get(HostRow, "m-1")
        assert row is not None
        hosts.set_state(session, row, HostState.INACTIVE, now=NOW)
    assert [one.draining for one in look(store, [machine()], LATER)] == [True]
    with store.write() as session:
        row = session.get(HostRow, "m-1")
        assert row is not None
        hosts.set_state(session, row, HostState.ACTIVE, now=NOW)
    assert [one.draining for one in look(store, [machine()], LATER)] == [False]


def test_a_look_of_before_does_not_bring_a_deleted_pool_back(store: Store) -> None:
    look(store, [], NOW)
    with store.write() as session:
        pools.gone(session, "web", now=NOW)
    with pytest.raises(Conflict, match="of before"):
        look(store, [], LATER)
    with store.read() as session:
        assert pools.listing(session) == []
    anew = TURN.model_copy(update={"run_id": "another"})
    with store.write() as session:
        pools.ensure(session, anew, now=LATER)
    with store.read() as session:
        assert [row.name for row in pools.listing(session)] == ["web"]


def test_offers_promise_no_more_than_hosts_of_their_type_have(store: Store) -> None:
    found = look(store, [machine()], NOW)
    offers = [local_machines.offer(SPEC, one) for one in SPEC.types]
    with store.read() as session:
        [promised] = pool_offers.as_found(session, found, offers)
    assert promised == offers[0]
    join(store, disk="30GB")
    found = look(store, [machine()], LATER)
    with store.read() as session:
        [real] = pool_offers.as_found(session, found, offers)
    total = real.host.total
    assert (total.memory_bytes, total.disk_bytes) == (3 * 1024**3, 30 * 1000**3)
    assert total.network_mbps == offers[0].host.total.network_mbps

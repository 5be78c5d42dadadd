"""The lease of schedulers: one holder at a time, and what an earlier one still writes is refused."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from fleetwide.store import scheduler_lease
from fleetwide.store.scheduler_lease import Lease, LeaseLost
from fleetwide.store.session import Store
from workers.leading import Leadership


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def take(store: Store, holder: str, seconds: float = 60) -> int | None:
    with store.write() as session:
        return scheduler_lease.take(session, holder, seconds=seconds)


def look(store: Store) -> Lease | None:
    with store.read() as session:
        return scheduler_lease.look(session)


def test_nobody_takes_a_lease_that_is_held(store: Store) -> None:
    assert look(store) is None
    assert take(store, "a") == 1
    assert take(store, "b") is None
    lease = look(store)
    assert lease is not None
    assert (lease.holder, lease.token, lease.held) == ("a", 1, True)
    assert lease.taken_at < lease.expires_at


def test_a_lease_that_ran_out_is_its_holders_until_somebody_takes_it(store: Store) -> None:
    assert take(store, "a", seconds=0) == 1
    lease = look(store)
    assert lease is not None
    assert not lease.held
    with store.write() as session:
        scheduler_lease.hold(session, 1, seconds=0)
    assert take(store, "b") == 2
    with store.write() as session, pytest.raises(LeaseLost):
        scheduler_lease.hold(session, 1)


def test_a_lease_that_was_given_back_is_free_at_once(store: Store) -> None:
    first, second = Leadership(store, "a"), Leadership(store, "b")
    assert first.leads()
    assert not second.leads()
    first.give_back()
    assert first.token is None
    assert take(store, "c") == 2
    with store.write() as session:
        scheduler_lease.give_back(session, 1)
    assert take(store, "d") is None


def test_one_who_lost_the_lease_writes_nothing_and_stands_by(store: Store) -> None:
    old = Leadership(store, "old", seconds=0)
    assert old.leads()
    new = Leadership(store, "new")
    assert new.leads()
    with pytest.raises(LeaseLost), store.write() as session:
        scheduler_lease.take(session, "written in vain")
        old.fence(session)
    assert not old.leads()
    with store.write() as session:
        new.fence(session)
    lease = look(store)
    assert lease is not None
    assert (lease.holder, lease.token) == ("new", 2)


def test_a_lease_from_before_the_clock_was_set_back_is_free(store: Store) -> None:
    assert take(store, "a") == 1
    with store.write() as session:
        session.connection().execute(text("UPDATE scheduler_lease SET expires_ms = expires_ms * 2"))
    lease = look(store)
    assert lease is not None
    assert not lease.held
    assert take(store, "b") == 2
    with store.write() as session, pytest.raises(LeaseLost):
        scheduler_lease.hold(session, 1)


def test_a_scheduler_with_long_ticks_holds_longer_leases(store: Store) -> None:
    one = Leadership(store, "a", seconds=3)
    one.allow_for(5)
    one.allow_for(0.01)
    assert one.leads()
    lease = look(store)
    assert lease is not None
    assert round((lease.expires_at - lease.taken_at).total_seconds()) == 15
    one.give_back()
    one.allow_for(1000)
    one._again = 0
    assert one.leads()
    lease = look(store)
    assert lease is not None
    assert round((lease.expires_at - lease.taken_at).total_seconds()) == 30

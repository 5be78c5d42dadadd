"""A host whose disk is full says so, gets no new work, and is asked again when it has room."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.offers import disk_pressure
from fleetwide.models.hosts import HostSpec
from fleetwide.store import events, hosts, scheduling
from fleetwide.store.session import Store

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MIB = 1024**2


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


@given(
    total=st.integers(0, 10**13),
    part=st.floats(0, 1),
    reserve=st.integers(0, 10**11),
    pressed=st.booleans(),
)
def test_pressure_begins_in_the_reserve_and_ends_well_above(
    total: int, part: float, reserve: int, pressed: bool
) -> None:
    free = int(total * part)
    told = disk_pressure(free, total, reserve, pressed=pressed)
    if free < reserve:
        assert told.startswith("DiskPressure")
    if not pressed and told:
        assert disk_pressure(free, total, reserve, pressed=True)
    if not told:
        assert free >= reserve
        assert free >= total // 100


def free_disk(store: Store) -> int:
    with store.read() as session:
        [host] = scheduling.snapshot(session, now=NOW).fleet.hosts
        return host.free.disk_bytes


def test_a_host_under_pressure_has_no_room_until_it_says_otherwise(store: Store) -> None:
    spec = HostSpec.model_validate({"host_id": "h1", "cpu": 1, "memory": "1GiB", "disk": "50GiB"})
    with store.write() as session:
        hosts.register(session, spec, now=NOW)
    room = free_disk(store)
    assert room > 0
    for words in ("DiskPressure: 1 MiB free", "DiskPressure: 2 MiB free"):
        with store.write() as session:
            hosts.press(session, "h1", words, now=NOW)
    assert free_disk(store) == 0
    with store.read() as session:
        assert hosts.pressed(session) == {"h1"}
    with store.write() as session:
        hosts.press(session, "h1", "", now=NOW)
    assert free_disk(store) == room
    with store.read() as session:
        told = [one.kind for one in events.after(session, 0, subject="host/h1")]
    assert told == ["state", "diskPressure", "diskPressureOver"]

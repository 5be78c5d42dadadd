"""Two that change a host at the same time: both count, or a plan made in between would win."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlmodel import Session

from fleetwide.models.host_moves import HostChange
from fleetwide.models.hosts import HostSpec, HostState
from fleetwide.store import hosts, standings
from fleetwide.store.session import Store
from fleetwide.store.tables import HostRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SPEC = HostSpec.model_validate({"host_id": "h1", "cpu": 4, "memory": "8GiB"})


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def _register(session: Session) -> None:
    hosts.register(session, SPEC, now=NOW)


def _phase_out(session: Session) -> None:
    standings.change(session, HostChange(host_id="h1", wanted=HostState.PHASED_OUT), now=NOW)


@pytest.mark.parametrize("change", [_register, _phase_out])
def test_two_changes_at_the_same_time_raise_the_version_twice(
    store: Store, change: Callable[[Session], None]
) -> None:
    with store.write() as session:
        _register(session)
        before = hosts.listing(session)[0].version

    def other() -> None:
        with store.write() as session:
            change(session)

    with ThreadPoolExecutor(1) as thread:
        with store.write() as session:
            row = hosts.find_locked(session, "h1")
            assert row is not None
            hosts.set_state(session, row, HostState.INACTIVE, now=NOW)
            session.flush()
            late = thread.submit(other)
            time.sleep(0.5)  # it reads the row by now, or waits for it
        late.result()
    with store.read() as session:
        found = session.get(HostRow, "h1")
        assert found is not None
        assert found.version == before + 2

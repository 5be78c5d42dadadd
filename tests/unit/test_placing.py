"""One turn of placement when something goes wrong: the others go on, and nothing is left untold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlmodel import select
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.containers.placement import engine, explain
from fleetwide.models.base import Waiting
from fleetwide.store import launches
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, WaiterRow
from tests.unit.test_kept_fleet import accept, end, offer, placer
from workers.leading import Leadership
from workers.placing import Placer


@pytest.fixture
def store(tmp_path: Any, sqlite_template: Any) -> Iterator[Store]:
    file = tmp_path / "test.db"
    file.write_bytes(sqlite_template.read_bytes())
    opened = Store.open(f"sqlite:///{file}")
    yield opened
    opened.engine.dispose()


class Temporal:
    """Answers calls for some workflows with an error; notes what the others were told."""

    def __init__(self, errors: dict[str, RPCStatusCode]) -> None:
        self.errors = errors
        self.told: list[str] = []

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> "Handle":
        assert run_id
        return Handle(self, workflow_id)

    def get_async_activity_handle(self, *, workflow_id: str, **_: str) -> "Handle":
        return Handle(self, workflow_id)


class Handle:
    def __init__(self, temporal: Temporal, workflow_id: str) -> None:
        self.temporal, self.workflow_id = temporal, workflow_id

    def _answer(self) -> None:
        if status := self.temporal.errors.get(self.workflow_id):
            raise RPCError("no", status, b"")
        self.temporal.told.append(self.workflow_id)

    async def signal(self, _name: str, _waiting: Waiting) -> None:
        self._answer()

    async def complete(self, _placements: object) -> None:
        self._answer()


def telling(store: Store, temporal: Temporal) -> Placer:
    return Placer(store, cast("Any", temporal), Leadership(store, "s1", 60))


def waiters(store: Store) -> dict[str, WaiterRow]:
    with store.read() as session:
        return {row.workflow_id: row for row in session.exec(select(WaiterRow))}


async def test_a_workflow_that_cannot_be_told_its_host_keeps_nobody_waiting(store: Store) -> None:
    temporal = Temporal({"batch/1": RPCStatusCode.INVALID_ARGUMENT})
    offer(store, "h1")
    accept(store, "batch/1")
    accept(store, "batch/2")
    one = telling(store, temporal)
    assert await one.tick()
    assert temporal.told == ["batch/2"]
    assert {name: row.done for name, row in waiters(store).items()} == {
        "batch/1": False,
        "batch/2": True,
    }
    temporal.errors.clear()
    one._slow_turn = None
    await one.tick()
    assert temporal.told == ["batch/2", "batch/1"]


async def test_a_workflow_that_cannot_be_signalled_keeps_nobody_waiting(store: Store) -> None:
    temporal = Temporal(
        {"batch/1": RPCStatusCode.UNAVAILABLE, "batch/2": RPCStatusCode.INVALID_ARGUMENT}
    )
    for name in ("batch/1", "batch/2", "batch/3"):
        accept(store, name)
    one = telling(store, temporal)
    await one.tick()
    await one._tell_waiting(datetime.now(UTC) + timedelta(minutes=1))
    assert temporal.told == ["batch/3"]
    # An answer that stays the same is not asked for again.
    assert [row.told for row in waiters(store).values()] == ["", "noHosts", "noHosts"]


async def test_a_reason_that_could_not_be_written_is_written_by_the_next_tick(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(store, "batch/1")
    one = placer(store)
    with monkeypatch.context() as patch:
        patch.setattr(launches, "explain", _away)
        with pytest.raises(OSError, match="away"):
            await one.tick()
    await one.tick()
    with store.read() as session:
        [row] = session.exec(select(AttemptRow))
    assert row.waiting is not None


def _away(*_: object) -> None:
    raise OSError("the database is away")


async def test_only_some_kinds_are_explained_in_a_tick_and_all_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MOST_EXPLAINED", 4)
    explained = explain.explain
    kinds: list[object] = []

    def counted(board: Any, kind: Any, offers: Any = None) -> Any:
        kinds.append(kind)
        return explained(board, kind, offers)

    monkeypatch.setattr(engine, "explain", counted)
    offer(store, "h1")
    for number in range(10):
        accept(store, f"batch/{number}", 2, cpu=10 + number)
    one = placer(store)
    for ticks in range(1, 4):
        one._slow_turn = None
        await one.tick()
        assert len(kinds) == 4 * ticks
    assert len(set(kinds)) == 10
    with store.read() as session:
        rows = session.exec(select(AttemptRow)).all()
    assert all(row.waiting for row in rows)


async def test_what_was_known_under_an_earlier_lease_is_forgotten(store: Store) -> None:
    offer(store, "h1")
    one = placer(store)
    accept(store, "batch/1")
    assert await one.tick()
    end(store, "batch/1")
    with store.read() as session:
        one.fleet.read_notes(session)
    assert one.fleet.has_notes()
    one.leadership.give_back()
    one.leadership._again = 0
    assert one._leads()
    # Another leader may have removed the note, and its number stands for another host since.
    assert not one.fleet.has_notes()

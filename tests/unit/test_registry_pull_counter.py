"""Pulls are counted in memory and written in batches, whatever becomes of the index meanwhile."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from api.oci import pulls
from api.oci.pulls import PullCounter
from fleetwide.store import registry_manifests, registry_pulls
from fleetwide.store.session import Store
from tests.registry_index import image, push, upload

A = image("a")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    upload(opened, "apps/x", "config", "a")
    push(opened, "apps/x", A)
    yield opened
    opened.engine.dispose()


def written(store: Store) -> tuple[int, dict[str, int]]:
    """Pulls of A, and of each caller."""
    with store.read() as session:
        row = registry_manifests.find(session, 1, A.digest)
        callers = registry_pulls.pullers(session, 1, A.digest, limit=5000)
        assert row is not None
        return row.pulls, {one.name: one.pulls for one in callers}


def rename(store: Store, old: str, new: str) -> None:
    with store.write() as session:
        session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def test_each_caller_is_counted_in_as_many_batches_as_it_takes(store: Store) -> None:
    counter = PullCounter(store)
    names = [f"robot-{number}" for number in range(pulls.BATCH + 1)]
    for name in ("", "", *names):
        counter.note(1, A.digest, name)
    asyncio.run(counter.flush())
    asyncio.run(counter.flush())
    assert written(store) == (len(names) + 2, {"anonymous": 2, **dict.fromkeys(names, 1)})


def test_what_cannot_be_written_is_written_later(store: Store) -> None:
    counter = PullCounter(store)
    counter.note(1, A.digest, "ci")
    rename(store, "registry_puller", "away")
    asyncio.run(counter.flush())
    rename(store, "away", "registry_puller")
    assert written(store) == (0, {})
    counter.note(1, A.digest, "ci")
    asyncio.run(counter.flush())
    assert written(store) == (2, {"ci": 2})


def test_what_waits_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "MAX_WAITING", 2)
    counter = PullCounter(store)
    for name in ("a", "b", "c", "a"):
        counter.note(1, A.digest, name)
    asyncio.run(counter.flush())
    assert written(store) == (3, {"a": 2, "b": 1})


def test_who_only_asks_for_what_he_has_moves_the_last_pull_and_is_no_puller(store: Store) -> None:
    counter = PullCounter(store)
    counter.note(1, A.digest, "ci", whole=False)
    asyncio.run(counter.flush())
    assert written(store) == (0, {})
    with store.read() as session:
        row = registry_manifests.find(session, 1, A.digest)
        assert row is not None
        assert row.last_pulled_at is not None


def test_pulls_are_written_once_each_also_those_during_the_last_writing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = PullCounter(store)
    begun, may_end = threading.Event(), threading.Event()
    write = PullCounter._write

    def slow(self: PullCounter, counts: registry_pulls.Pulls) -> None:
        begun.set()
        may_end.wait(30)
        write(self, counts)

    monkeypatch.setattr(PullCounter, "_write", slow)

    async def end() -> None:
        counter.note(1, A.digest, "early")
        writing = asyncio.create_task(counter.flush())
        await asyncio.to_thread(begun.wait, 30)
        writing.cancel()
        counter.note(1, A.digest, "early")
        counter.note(1, A.digest, "late")
        closing = asyncio.create_task(counter.close())
        await asyncio.sleep(0)
        may_end.set()
        await closing
        with pytest.raises(asyncio.CancelledError):
            await writing

    asyncio.run(end())
    assert written(store) == (3, {"early": 2, "late": 1})


def test_the_end_waits_for_no_index_that_is_gone(store: Store) -> None:
    counter = PullCounter(store)
    counter.note(1, A.digest, "ci")
    rename(store, "registry_puller", "away")
    asyncio.run(counter.close())
    rename(store, "away", "registry_puller")
    assert written(store) == (0, {})

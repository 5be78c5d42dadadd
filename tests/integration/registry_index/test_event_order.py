"""Events are told in one order and none is left out, however their transactions overlap."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlmodel import Session, col, select, update

from fleetwide.store import events, migrate
from fleetwide.store.session import Store
from fleetwide.store.tables import EventRow
from tests.integration.registry_index.races import PATIENCE
from tests.postgres import TEMPLATE, Postgres
from tests.registry_index import NOW

pytestmark = pytest.mark.integration
WRITERS = 4
TURNS = 20


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def overlapping(postgres: Postgres) -> Iterator[Store]:
    """A database whose writers do not wait for each other."""
    opened = Store.open(postgres.database(TEMPLATE))
    yield opened
    opened.engine.dispose()


def tell(session: Session, subject: str) -> None:
    events.append(session, subject, "told", "", at=NOW)


def told(store: Store, cursor: int = 0, limit: int = 200) -> tuple[list[str], int]:
    """Subjects of the events behind ``cursor``, and the cursor behind those."""
    with store.read() as session:
        rows = events.after(session, cursor, limit=limit)
        return [row.subject for row in rows], (rows[-1].seq or 0) if rows else cursor


def test_who_begins_early_and_commits_late_is_not_skipped(overlapping: Store) -> None:
    store, written, go_on = overlapping, threading.Event(), threading.Event()

    def slow() -> None:
        with store.write() as session:
            tell(session, "early")
            written.set()
            assert go_on.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(slow)
        try:
            assert written.wait(PATIENCE)
            with store.write() as session:
                tell(session, "late")
            before, cursor = told(store)
            with store.read() as session:
                newest = events.newest(session)
        finally:
            go_on.set()
        running.result(PATIENCE)
    assert before == []
    assert newest == cursor == 0
    assert told(store)[0] == ["early", "late"]


def test_a_lower_number_that_is_seen_later_still_comes_behind_the_cursor(
    overlapping: Store,
) -> None:
    store, older, younger = overlapping, ExitStack(), ExitStack()
    with older, younger:
        first, second = (one.enter_context(store.write()) for one in (older, younger))
        tell(first, "a")
        tell(second, "b")
        tell(first, "c")
        older.close()
        before, cursor = told(store)
        with store.read() as session:
            assert events.newest(session) == cursor
        younger.close()
    assert before == ["a", "c"]
    assert told(store, cursor)[0] == ["b"]
    with store.read() as session:
        assert events.newest(session) == 2


def test_whoever_follows_many_writers_sees_each_event_once(store: Store) -> None:
    def write(name: str) -> None:
        for turn in range(TURNS):
            with store.write() as session:
                for part in range(turn % 3 + 1):
                    tell(session, f"{name}/{turn}/{part}")

    seen, page, cursor = list[str](), list[str](), 0
    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(write, str(number)) for number in range(WRITERS)]
        while not all(one.done() for one in running):
            page, cursor = told(store, cursor, limit=7)
            seen += page
        for one in running:
            one.result()
    page = ["not asked yet"]
    while page:
        page, cursor = told(store, cursor, limit=7)
        seen += page
    wanted = {
        f"{w}/{t}/{p}" for w in range(WRITERS) for t in range(TURNS) for p in range(t % 3 + 1)
    }
    assert len(seen) == len(wanted)
    assert set(seen) == wanted


def test_a_cursor_that_is_no_event_s_number_is_a_number(store: Store) -> None:
    for name in ("a", "b", "c"):
        with store.write() as session:
            tell(session, name)
    with store.write() as session:
        session.delete(session.exec(select(EventRow).where(EventRow.subject == "b")).one())
    assert told(store, 2) == (["c"], 3)
    assert told(store, 99) == ([], 99)


def test_events_of_a_dump_come_first_on_another_server(overlapping: Store) -> None:
    """A server that is set up anew counts its transactions anew."""
    store = overlapping
    for name in ("old", "older"):
        with store.write() as session:
            tell(session, name)
    with store.write() as session:
        session.exec(update(EventRow).values(xid=col(EventRow.xid) + 2**40))
    assert told(store) == ([], 0)
    migrate.upgrade(store.engine)
    with store.write() as session:
        tell(session, "new")
    assert told(store)[0] == ["old", "older", "new"]
    assert told(store, 2)[0] == ["new"]

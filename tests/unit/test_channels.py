"""Channels in the books: compare-and-set, and a history that is never rewritten."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetwide.errors import Conflict
from fleetwide.models.os_releases import Channel
from fleetwide.store import channels, migrate
from fleetwide.store.channels import Move
from fleetwide.store.session import Store
from tests.unit.os_plans import NOW


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/test.db")
    migrate.upgrade(opened.engine)
    yield opened
    opened.engine.dispose()


def point(store: Store, version: str, **more: str) -> str | None:
    with store.write() as session:
        return channels.point(session, Move("baseos", Channel.STABLE, version, **more), now=NOW)


def pointed(store: Store) -> str | None:
    with store.read() as session:
        row = channels.get(session, "baseos", "stable")
        return row.version if row else None


def take_away(store: Store, version: str) -> None:
    with store.write() as session:
        gone = Move("baseos", Channel.STABLE, version, "eve", "CVE")
        channels.take_away(session, gone, now=NOW)


def revisions(store: Store) -> list[tuple[int, str | None, str | None]]:
    with store.read() as session:
        found = channels.history(session, "baseos")
    return [(move.revision, move.before, move.version) for move in found]


def test_a_channel_answers_where_it_pointed_before(store: Store) -> None:
    assert point(store, "1") is None
    assert point(store, "2") == "1"
    assert pointed(store) == "2"
    assert revisions(store) == [(2, "1", "2"), (1, None, "1")]


def test_a_move_to_where_it_points_already_is_no_move(store: Store) -> None:
    point(store, "1")
    assert point(store, "1", reason="again") == "1"
    assert revisions(store) == [(1, None, "1")]


@pytest.mark.parametrize(("before", "told"), [([], "nothing"), (["1", "2"], "2")])
def test_another_version_than_expected_is_a_conflict(
    store: Store, before: list[str], told: str
) -> None:
    for version in before:
        point(store, version)
    with pytest.raises(Conflict, match=f"points at {told}, not at 1"):
        point(store, "3", expected="1")
    assert pointed(store) == (before[-1] if before else None)


def test_what_was_expected_can_be_moved(store: Store) -> None:
    point(store, "1")
    assert point(store, "2", expected="1") == "1"


def test_a_channel_is_taken_from_the_release_it_points_at_alone(store: Store) -> None:
    point(store, "1")
    take_away(store, "2")
    assert pointed(store) == "1"
    take_away(store, "1")
    take_away(store, "1")
    assert pointed(store) is None
    assert revisions(store) == [(2, "1", None), (1, None, "1")]


def test_revisions_go_on_after_a_channel_was_taken_away(store: Store) -> None:
    point(store, "1")
    take_away(store, "1")
    point(store, "2")
    assert [revision for revision, _, _ in revisions(store)] == [3, 2, 1]


def test_the_history_keeps_who_and_why(store: Store) -> None:
    point(store, "1", by="ada", reason="ready")
    take_away(store, "1")
    with store.read() as session:
        last, first = channels.history(session, "baseos")
        assert channels.history(session, "other") == []
    assert (first.by, first.reason, first.at) == ("ada", "ready", NOW)
    assert (last.by, last.reason) == ("eve", "CVE")


def test_of_moves_at_the_same_moment_that_expect_the_same_one_wins(store: Store) -> None:
    point(store, "0")
    start, lost = threading.Barrier(4), []

    def race(version: str) -> None:
        start.wait()
        try:
            point(store, version, expected="0")
        except Conflict:
            lost.append(version)

    threads = [threading.Thread(target=race, args=[version]) for version in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) == 3
    assert {pointed(store)} == {*"1234"} - {*lost}
    assert len(revisions(store)) == 2

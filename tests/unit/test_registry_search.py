"""Search: parts of names, within what somebody may see, in answers of bounded cost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_search
from fleetwide.store.migrate import upgrade
from fleetwide.store.registry_search import search
from fleetwide.store.session import Store
from tests.registry_index import NOW

NAMES = ["apps/we_b", "apps/web", "base/os", "tools/web-ui", "web"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/index.db")
    upgrade(opened.engine)
    with opened.write() as session:
        for name in NAMES:
            repositories.ensure(session, name, by="me", now=NOW)
    yield opened
    opened.engine.dispose()


def names(store: Store, text: str, **more: object) -> list[str]:
    with store.read() as session:
        found = search(session, text, **{"limit": 9, **more})  # type: ignore[arg-type]
    assert found.next is None
    return [row.name for row in found.rows]


def test_parts_of_names_are_found_and_signs_are_taken_literally(store: Store) -> None:
    assert names(store, "WEB") == ["apps/web", "tools/web-ui", "web"]
    assert names(store, "e_b") == ["apps/we_b"]
    assert names(store, "%") == []
    assert names(store, "web", after="apps/web") == ["tools/web-ui", "web"]


def test_only_what_may_be_seen_is_found(store: Store) -> None:
    assert names(store, "web", prefixes=["tools/", "web"]) == ["tools/web-ui", "web"]
    assert names(store, "web", prefixes=[]) == []
    assert names(store, "web", prefixes=[""]) == names(store, "web")


def test_what_is_being_deleted_is_not_found(store: Store) -> None:
    with store.write() as session:
        repositories.require(session, "apps/web").deleting_since = NOW
    assert names(store, "web") == ["tools/web-ui", "web"]


@pytest.mark.parametrize("looked_at", [1, 2, 3, 5, 6])
def test_an_answer_looks_at_so_many_names_and_says_where_to_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(registry_search, "LOOKED_AT", looked_at)
    found, after, answers = list[str](), "", 0
    while True:
        with store.read() as session:
            part = search(session, "web", after=after, limit=9)
        found += [row.name for row in part.rows]
        answers += 1
        if part.next is None:
            break
        assert part.next > after
        after = part.next
    assert found == ["apps/web", "tools/web-ui", "web"]
    assert answers == len(NAMES) // looked_at + 1


def test_a_full_answer_goes_on_behind_its_last_row(store: Store) -> None:
    with store.read() as session:
        first = search(session, "web", limit=2)
        second = search(session, "web", after=first.next or "", limit=2)
    assert (first.next, [row.name for row in second.rows]) == ("tools/web-ui", ["web"])
    assert second.next is None

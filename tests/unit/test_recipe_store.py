"""Recipes in the books: versions never change, and the same text makes none."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.store import events, migrate, recipes
from fleetwide.store.session import Store
from tests.unit.recipe_texts import NOW, recipe_spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/test.db")
    migrate.upgrade(opened.engine)
    yield opened
    opened.engine.dispose()


def put(store: Store, *names: str, init: bool = False) -> list[str]:
    with store.write() as session:
        made = [recipes.put(session, recipe_spec(name=name, init=init), now=NOW) for name in names]
    return [recipe.reference for recipe in made]


def test_a_recipe_comes_back_as_it_was_stored(store: Store) -> None:
    with store.write() as session:
        made = recipes.put(session, recipe_spec(), now=NOW)
    with store.read() as session:
        assert recipes.get(session, "service") == made == recipes.get(session, "service", 1)
    assert (made.version, made.created_at, made.spec) == (1, NOW, recipe_spec())


def test_another_text_is_the_next_version_and_the_newest_text_is_none(store: Store) -> None:
    with store.write() as session:
        first = recipes.put(session, recipe_spec(), now=NOW)
        later = NOW + timedelta(days=1)
        assert recipes.put(session, recipe_spec(), now=later) == first
        second = recipes.put(session, recipe_spec(init=True), now=later)
        # Back to the older text: bakes that ask for no version get it again.
        third = recipes.put(session, recipe_spec(), now=later)
    assert [one.version for one in (first, second, third)] == [1, 2, 3]
    assert first.digest == third.digest != second.digest
    with store.read() as session:
        assert recipes.get(session, "service", 1) == first
        told = events.after(session, 0, subject="recipe/service")
        assert [event.message for event in told] == [
            "stored service:1",
            "stored service:2",
            "stored service:3",
        ]


def test_a_recipe_that_no_bake_could_use_is_not_stored(store: Store) -> None:
    with (
        store.write() as session,
        pytest.raises(InvalidInput, match=r"has no parameter for \$\{x\}"),
    ):
        recipes.put(session, recipe_spec(command=["${x}"]), now=NOW)
    with store.read() as session:
        assert recipes.listing(session) == []


def test_what_is_missing_is_told_with_the_nearest_name(store: Store) -> None:
    put(store, "service", "worker")
    with store.read() as session:
        with pytest.raises(NotFound, match=r"no recipe servise; did you mean service\?"):
            recipes.get(session, "servise")
        with pytest.raises(NotFound, match="no version 7; its newest is 1") as caught:
            recipes.get(session, "service", 7)
    assert caught.value.hint == "fleetwide recipe list --name service"


def test_recipes_are_listed_in_pages_each_in_its_newest_version(store: Store) -> None:
    put(store, "a", "b", "c")
    put(store, "b", init=True)

    def page(after: str | None) -> list[str]:
        with store.read() as session:
            return [one.reference for one in recipes.listing(session, after=after, limit=2)]

    assert (page(None), page("b"), page("c")) == (["a:1", "b:2"], ["c:1"], [])


def test_versions_are_listed_in_pages_newest_first(store: Store) -> None:
    put(store, "a", "other")
    put(store, "a", init=True)
    put(store, "a")

    def page(before: int | None) -> list[str]:
        with store.read() as session:
            found = recipes.versions(session, "a", before=before, limit=2)
            return [one.reference for one in found]

    assert (page(None), page(2), page(1)) == (["a:3", "a:2"], ["a:1"], [])


def test_of_two_that_store_at_the_same_moment_one_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "service")
    # What PostgreSQL lets happen: the other's version shows only when ours is written.
    monkeypatch.setattr(recipes, "_newest", lambda *_: None)
    with store.write() as session:
        with pytest.raises(Conflict, match="at the same moment") as caught:
            recipes.put(session, recipe_spec(init=True), now=NOW)
        monkeypatch.undo()
        assert recipes.put(session, recipe_spec(init=True), now=NOW).version == 2
    assert isinstance(caught.value.__cause__, IntegrityError)

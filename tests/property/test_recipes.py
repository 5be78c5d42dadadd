"""Recipes keep their promises whatever they and the bake say."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.parameters import filled, placeholder_faults, value_fault
from fleetwide.bakery.recipes import apply_recipe, check_recipe, recipe_digest
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.recipes import Parameter, ParameterType, Recipe, RecipeSpec
from tests.unit.bakes import bake_spec
from tests.unit.recipe_texts import NOW

NAMES = ["alpha", "beta", "gamma"]
words = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=8)
texts = st.lists(
    st.one_of(words, st.sampled_from([f"${{{name}}}" for name in NAMES]), st.just("$$")), max_size=4
).map("".join)
packages = st.lists(st.sampled_from(["curl", "git", "tini", "tzdata"]), unique=True)
ports = st.lists(st.integers(1, 65535), max_size=3)
variables = st.sampled_from(["A", "B", "C"])


def said(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The fields that recipe and bake have in common, each said or not."""
    return st.fixed_dictionaries(
        {},
        optional={
            "packages": packages,
            "ports": ports,
            "entrypoint": st.lists(text, max_size=2),
            "command": st.lists(text, max_size=2),
            "env": st.dictionaries(variables, text),
            "labels": st.dictionaries(st.sampled_from(["x", "y"]), text),
            "user": st.sampled_from(["web", "10:10"]),
            "workdir": st.sampled_from(["/srv", "/data"]),
            "init": st.booleans(),
            "owner": words,
            "healthcheck": st.fixed_dictionaries(
                {"command": st.lists(text, min_size=1, max_size=2)}
            ),
        },
    )


values = st.fixed_dictionaries(dict.fromkeys(NAMES, words))
recipes = said(texts).map(
    lambda fields: RecipeSpec.model_validate(
        {"name": "r", "parameters": {name: {} for name in NAMES}, **fields}
    )
)
bakes = st.builds(
    lambda fields, given: bake_spec(**{"command": [], **fields, "parameters": given}),
    said(words),
    values,
)


def stored(spec: RecipeSpec) -> Recipe:
    return Recipe(spec=spec, version=1, digest=recipe_digest(spec), created_at=NOW)


@given(bakes, recipes)
def test_applying_a_recipe_again_changes_nothing(spec: BakeSpec, recipe: RecipeSpec) -> None:
    once, extras = apply_recipe(spec, stored(recipe))
    assert apply_recipe(once, stored(recipe)) == (once, extras)
    # As it comes back from the books, where every field is said.
    kept = BakeSpec.model_validate(once.model_dump(mode="json"))
    assert apply_recipe(kept, stored(recipe)) == (once, extras)


@given(bakes, recipes)
def test_the_spec_wins_and_nothing_of_it_is_lost(spec: BakeSpec, recipe: RecipeSpec) -> None:
    applied, _ = apply_recipe(spec, stored(recipe))
    for name in ("entrypoint", "command", "owner", "healthcheck"):
        own = getattr(spec, name)
        assert not own or getattr(applied, name) == own
    for name in ("user", "workdir"):
        own = getattr(spec, name)
        assert own == BakeSpec.model_fields[name].default or getattr(applied, name) == own
    assert spec.env.items() <= applied.env.items()
    assert spec.labels.items() <= applied.labels.items()
    assert set(applied.packages) == {*spec.packages, *recipe.packages}
    assert set(applied.ports) == {*spec.ports, *recipe.ports}
    assert applied.init == (spec.init or recipe.init)
    for name in ("name", "version", "artifacts", "base", "parameters", "smoke", "build"):
        assert getattr(applied, name) == getattr(spec, name)


@given(bakes, recipes)
def test_the_order_of_what_was_said_does_not_matter(spec: BakeSpec, recipe: RecipeSpec) -> None:
    def turned(document: dict[str, Any]) -> dict[str, Any]:
        items = list(document.items())[::-1]
        return {key: turned(one) if isinstance(one, dict) else one for key, one in items}

    other = RecipeSpec.model_validate(turned(recipe.model_dump()))
    asked = BakeSpec.model_validate(turned(spec.model_dump()))
    assert recipe_digest(other) == recipe_digest(recipe)
    assert apply_recipe(asked, stored(other)) == apply_recipe(spec, stored(recipe))


@given(recipes)
def test_a_recipe_that_may_be_stored_can_be_filled(recipe: RecipeSpec) -> None:
    check_recipe(recipe)
    document = recipe.model_dump(mode="json", include={"command", "env"})
    assert "${" not in str(filled(document, dict.fromkeys(NAMES, "v")))


@given(st.text(max_size=40))
def test_any_text_is_either_refused_or_filled(text: str) -> None:
    known = {name: Parameter() for name in NAMES}
    if not list(placeholder_faults(text, known)):
        filled(text, dict.fromkeys(NAMES, "v"))


@given(st.text())
def test_what_has_no_dollar_is_left_as_it_is(text: str) -> None:
    assert filled(text.replace("$", ""), {}) == text.replace("$", "")
    assert filled(text.replace("$", "$$"), {}) == text


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_every_plain_whole_number_is_one(number: int) -> None:
    assert value_fault(Parameter(type=ParameterType.INTEGER), str(number)) is None

"""Recipes: what a bake takes from one, and what no recipe may say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetwide.bakery.parameters import MAX_VALUE
from fleetwide.bakery.recipes import apply_recipe, check_recipe, recipe_digest
from fleetwide.errors import InvalidInput
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.recipes import RecipeSpec
from tests.unit.bakes import bake_spec
from tests.unit.recipe_texts import recipe, recipe_spec

EXAMPLE = Path(__file__).parents[2] / "examples/bakery/python-service.yaml"


def asked(**changes: Any) -> BakeSpec:
    return bake_spec(**{"command": [], "parameters": {"module": "hello"}, **changes})


def faults(spec: BakeSpec, **changes: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        apply_recipe(spec, recipe(**changes))
    assert caught.value.hint == "fleetwide recipe show service:3"
    return [str(fault) for fault in caught.value.fields]


def stored_faults(**changes: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        check_recipe(recipe_spec(**changes))
    return [str(fault) for fault in caught.value.fields]


def test_a_bake_gets_what_the_recipe_says_with_its_values() -> None:
    applied, extras = apply_recipe(asked(), recipe())
    assert applied.entrypoint == ["/usr/bin/python3", "-m", "hello"]
    assert applied.command == ["--port", "8080"]
    assert applied.env == {"PORT": "8080", "LEVEL": "info", "PRICE": "$5", "SHELLS": "$HOME"}
    assert applied.healthcheck is not None
    assert applied.healthcheck.command == ["/usr/bin/check", "8080"]
    assert (applied.user, applied.workdir, applied.owner) == ("web", "/srv/hello", "platform-team")
    assert (applied.packages, applied.ports) == (["ca-certificates", "python3"], [8080])
    assert applied.labels == {"app": "hello"}
    assert extras.reference == "service:3"
    assert [(file.path, file.content) for file in extras.files] == [
        ("/etc/hello.conf", "port = 8080\n")
    ]
    assert extras.drop_setuid


def test_what_the_spec_says_itself_goes_first_and_lists_are_united() -> None:
    own = {
        "user": "10:10",
        "workdir": "/data",
        "owner": "ana",
        "command": ["--fast"],
        "env": {"PORT": "1", "MORE": "x"},
        "labels": {"app": "mine"},
        "ports": [9090, 8080],
        "packages": ["curl"],
        "healthcheck": {"command": ["/mine"]},
    }
    applied, _ = apply_recipe(asked(**own), recipe())
    assert (applied.user, applied.workdir, applied.owner) == ("10:10", "/data", "ana")
    assert applied.entrypoint[-1] == "hello"
    assert applied.command == ["--fast"]
    assert applied.env["PORT"] == "1"
    assert set(applied.env) == {"PORT", "LEVEL", "PRICE", "SHELLS", "MORE"}
    assert applied.labels == {"app": "mine"}
    assert applied.ports == [8080, 9090]
    assert applied.packages == ["ca-certificates", "curl", "python3"]
    assert applied.healthcheck is not None
    assert applied.healthcheck.command == ["/mine"]


def test_a_command_does_not_follow_another_entry_point() -> None:
    applied, _ = apply_recipe(asked(entrypoint=["/opt/hello/run"]), recipe())
    assert (applied.entrypoint, applied.command) == (["/opt/hello/run"], [])
    only_words = recipe(entrypoint=[])
    applied, _ = apply_recipe(asked(entrypoint=["/opt/hello/run"]), only_words)
    assert applied.command == ["--port", "8080"]


def test_values_are_not_read_again() -> None:
    applied, _ = apply_recipe(asked(parameters={"module": "${port}$$"}), recipe(workdir="/"))
    assert applied.entrypoint[-1] == "${port}$$"


def test_all_wrong_parameters_are_told_at_once_without_their_values() -> None:
    given = {"modul": "s3cret", "port": "eighty", "level": "s3cret"}
    assert faults(asked(parameters=given)) == [
        "parameters.modul: unknown; did you mean module?",
        "parameters.level: must be one of info, debug",
        "parameters.module: missing",
        "parameters.port: must be a whole number",
    ]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("integer", "", "must be a whole number"),
        ("integer", "08", "must be a whole number"),
        ("integer", "1\n", "must be a whole number"),
        ("integer", "\u0661", "must be a whole number"),
        ("boolean", "yes", "must be true or false"),
        ("boolean", "True", "must be true or false"),
        ("string", "a\0b", "must not hold control characters"),
        ("string", "x" * (MAX_VALUE + 1), f"must have at most {MAX_VALUE} characters"),
    ],
)
def test_values_must_be_of_their_type(kind: str, value: str, told: str) -> None:
    parameters = {"module": {"type": kind}}
    texts: dict[str, Any] = {"env": {}, "command": [], "files": [], "healthcheck": None}
    found = faults(asked(parameters={"module": value}), parameters=parameters, **texts)
    assert found == [f"parameters.module: {told}"]


def test_what_comes_of_a_value_is_checked_as_if_it_stood_there() -> None:
    assert "files[0].path: must be an absolute path without empty, . or .. parts" in " ".join(
        faults(asked(parameters={"module": "../../x"}))
    )
    assert faults(asked(parameters={"module": "a b"}))[0].startswith("workdir: must match")
    long = ["x" * 4000 for _ in range(4)]
    [told] = faults(
        asked(entrypoint=[], parameters={"module": "m" * 4000}), command=long, workdir="/", files=[]
    )
    assert "entrypoint and command: more than 16384 bytes" in told


def test_a_recipe_without_parameters_takes_none() -> None:
    bare = dict.fromkeys(("user", "workdir", "healthcheck"))
    lists: dict[str, Any] = {"entrypoint": [], "command": [], "files": []}
    maps: dict[str, Any] = {"parameters": {}, "env": {}, "labels": {}}
    assert faults(asked(), **bare, **lists, **maps) == [
        "parameters.module: unknown; the recipe has no parameters"
    ]


def test_a_stored_recipe_names_only_parameters_that_it_has() -> None:
    assert stored_faults(
        command=["${modul}"], env={"A": "${HOME}", "B": "${open", "C": "$$${x}"}
    ) == [
        "command[0]: has no parameter for ${modul}; did you mean module?; a dollar is written $$",
        "env.A: has no parameter for ${HOME}; known are level, module, port; a dollar is written $$",
        "env.B: has a ${ without its }; a dollar is written $$",
        "env.C: has no parameter for ${x}; known are level, module, port; a dollar is written $$",
    ]


def test_texts_that_are_no_placeholders_are_left_alone() -> None:
    check_recipe(recipe_spec(command=["$HOME", "$$", "$${HOME}", "$", "{x}", "$(date)"]))


def test_defaults_and_choices_must_be_of_their_type() -> None:
    parameters = {
        "module": {"type": "boolean", "default": "perhaps"},
        "port": {"type": "integer", "choices": ["1", "two"]},
        "level": {"default": "loud", "choices": ["info"]},
    }
    assert stored_faults(parameters=parameters) == [
        "parameters.module.default: must be true or false (given: 'perhaps')",
        "parameters.port.choices: must be a whole number (given: 'two')",
        "parameters.level.default: must be one of info (given: 'loud')",
    ]


def test_labels_of_the_platform_are_not_for_recipes() -> None:
    assert stored_faults(labels={"fleetwide.kind": "x"}) == [
        "labels.fleetwide.kind: set by the platform"
    ]


def test_the_digest_is_of_what_a_recipe_says_and_not_of_how() -> None:
    spec = recipe_spec()
    spelt_out = RecipeSpec.model_validate(spec.model_dump())
    assert recipe_digest(spelt_out) == recipe_digest(spec)
    assert recipe_digest(recipe_spec(init=True)) != recipe_digest(spec)


def test_the_example_is_a_recipe() -> None:
    spec = RecipeSpec.model_validate(yaml.safe_load(EXAMPLE.read_text()))
    check_recipe(spec)
    stored = recipe().model_copy(update={"spec": spec})
    applied, extras = apply_recipe(asked(), stored)
    assert '127.0.0.1:${PORT:-8080}/healthz"' in (extras.files[0].content or "")
    assert applied.healthcheck is not None
    assert applied.healthcheck.command == [extras.files[0].path]

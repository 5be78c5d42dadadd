"""The words in which bad input is told."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.validation import MAX_FAULTS, faults_of, field_path, invalid_input, shown


def refused(model: type[BaseModel], value: Any) -> InvalidInput:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return invalid_input(caught.value, model)


def task(**container: Any) -> dict[str, Any]:
    return {"app": "hello", "container": {"image": "apps/hello:1.0.0", **container}}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            task(resources={"cpu": -1}),
            "container.resources.cpu: must be at least 0.001 (given: -1)",
        ),
        (
            task(resources={"cpu": 97}),
            "container.resources.cpu: must be at most 96 (given: 97)",
        ),
        (
            task(resources={"cpu": 0.0015}),
            "container.resources.cpu: must be a multiple of 0.001 (given: 0.0015)",
        ),
        (
            task(network="bride"),
            "container.network: must be 'bridge', 'host' or 'none' (given: 'bride')",
        ),
        (task(imag="x"), "container.imag: unknown key; did you mean image?"),
        (task(command="ls"), "container.command: must be a list (given: 'ls')"),
        ({"app": "hello"}, "container: missing"),
        ("hello", "input: must be an object (given: 'hello')"),
        (None, "input: must be an object (given: null)"),
    ],
)
def test_each_fault_names_the_field_what_is_allowed_and_what_was_given(
    value: Any, told: str
) -> None:
    error = refused(ContainerTaskSpec, value)
    assert error.message == told
    assert [str(fault) for fault in error.fields] == [told]


def test_an_unknown_key_without_a_near_one_lists_the_known_ones() -> None:
    error = refused(ContainerTaskSpec, {**task(), "zzzzzz": 1})
    known = sorted(ContainerTaskSpec.model_fields)
    assert error.message == f"zzzzzz: unknown key; known are {', '.join(known)}"


def test_keys_of_items_in_lists_are_suggested_too() -> None:
    value = {"name": "a", "version": "1", "base": "baseos:stable", "artifacts": [{"sha25": "x"}]}
    told = [str(fault) for fault in refused(BakeSpec, value).fields]
    assert "artifacts[0].sha25: unknown key; did you mean sha256?" in told


def test_values_of_the_environment_are_never_shown() -> None:
    error = refused(ContainerTaskSpec, task(env={"TOKEN": 12345}))
    assert error.message == "container.env.TOKEN: must be a text"


def test_credentials_in_addresses_are_never_shown() -> None:
    assert shown("https://me:secret@host/file") == "'https://***@host/file'"


def test_many_faults_are_cut_in_the_message_and_bounded_in_the_list() -> None:
    error = refused(ContainerTaskSpec, task(command=list(range(50))))
    assert len(error.fields) == MAX_FAULTS
    assert error.message.endswith(f"; and {MAX_FAULTS - 5} more")


def test_faults_without_a_model_make_no_suggestion() -> None:
    with pytest.raises(ValidationError) as caught:
        ContainerTaskSpec.model_validate(task(imag="x"))
    assert faults_of(caught.value)[0].message == "unknown key"


def test_text_that_is_not_json() -> None:
    with pytest.raises(ValidationError) as caught:
        ContainerTaskSpec.model_validate_json("{")
    assert invalid_input(caught.value).message.startswith("input: is not JSON: EOF")


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ((), "input"),
        (("a", 0, "b"), "a[0].b"),
        (("env", "K", "[key]"), "env.K"),
        (("a" * 500,), "a" * 200),
    ],
)
def test_field_paths(location: tuple[str | int, ...], text: str) -> None:
    assert field_path(location) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ({"a": 1}, "an object"),
        ([1, 2], "a list of 2"),
        ("x" * 100, "'" + "x" * 76 + "..."),
        (10**500, "a very large number"),
        (float("nan"), "nan"),
        (b"x", None),
    ],
)
def test_what_was_given_is_short(value: object, text: str | None) -> None:
    assert shown(value) == text

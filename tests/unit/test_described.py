"""The texts below the fields of models reach JSON schemas, and every model can be built."""

import importlib
import pkgutil
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

import fleetwide.models
from fleetwide.models.base import Record
from fleetwide.models.described import Described, field_texts

Item = TypeVar("Item")


class Inner(Record):
    deep: int = 0
    """How deep."""


class Parent(Record):
    kept: str
    """The parent's."""
    changed: str
    """The parent's word."""
    silent: str
    """Lost when declared anew."""
    # A comment is no text.
    bare: int = 0
    inner: Inner = Inner()
    """A model in a model."""
    own: Annotated[int, Field(description="An explicit one wins.")] = 0
    """Never seen."""


class Child(Parent):
    changed: str
    """The child's word."""
    silent: str

    class Nested(Record):
        leaf: int
        """
        Over
          some lines.
        """


class Many(Record, Generic[Item]):
    items: list[Item]
    """What there is."""


class Aliased(Described):
    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    two_words: int
    """Under its alias."""


def described(model: type[BaseModel], **options: Any) -> dict[str, str | None]:
    properties = model.model_json_schema(**options)["properties"]
    return {name: field.get("description") for name, field in properties.items()}


def test_texts_below_fields_are_descriptions() -> None:
    assert described(Parent) == {
        "kept": "The parent's.",
        "changed": "The parent's word.",
        "silent": "Lost when declared anew.",
        "bare": None,
        "inner": "A model in a model.",
        "own": "An explicit one wins.",
    }


def test_fields_of_a_parent_keep_theirs_unless_they_are_declared_anew() -> None:
    assert field_texts(Child) == {
        "kept": "The parent's.",
        "changed": "The child's word.",
        "inner": "A model in a model.",
        "own": "Never seen.",
    }
    assert described(Child)["silent"] is None


def test_nested_local_and_generic_models_are_described() -> None:
    class Local(Record):
        name: str
        """In a function."""

    assert described(Child.Nested) == {"leaf": "Over\n  some lines."}
    assert described(Local) == {"name": "In a function."}
    assert described(Many[Inner]) == {"items": "What there is."}


def test_models_inside_of_others_are_described_too() -> None:
    inner = Parent.model_json_schema()["$defs"]["Inner"]["properties"]
    assert inner["deep"]["description"] == "How deep."


@pytest.mark.parametrize("by_alias", [True, False])
def test_a_field_is_described_under_each_of_its_names(by_alias: bool) -> None:
    assert list(described(Aliased, by_alias=by_alias).values()) == ["Under its alias."]


def test_a_model_without_source_has_no_texts() -> None:
    space: dict[str, Any] = {"Record": Record, "__name__": "nowhere"}
    exec("class Made(Record):\n    name: str\n    'A text.'", space)
    assert described(space["Made"]) == {"name": None}


def test_every_model_can_be_built() -> None:
    """Models are built when they are first used: a fault in one must show before that."""
    found = list(models())
    assert len(found) > 200
    for model in found:
        model.model_rebuild()
        assert model.__pydantic_complete__, model


def models() -> list[type[BaseModel]]:
    modules = [
        importlib.import_module(f"fleetwide.models.{module.name}")
        for module in pkgutil.iter_modules(fleetwide.models.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel
    ]

"""Recipes: what a bake takes from one, and what a recipe must be to be stored."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from fleetwide.bakery.parameters import (
    filled,
    placeholder_faults,
    value_fault,
    value_faults,
)
from fleetwide.errors import FieldFault
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import AppliedRecipe
from fleetwide.models.recipes import Recipe, RecipeSpec
from fleetwide.registry.digests import canonical_json, digest_of
from fleetwide.validation import from_faults, invalid_input

_TEXTS = ("entrypoint", "command", "env", "files", "healthcheck", "labels", "workdir")
"""The fields whose texts may hold parameters."""
_SINGLE = ("user", "workdir", "healthcheck", "owner")
_UNITED = ("packages", "ports")
_PLATFORM_LABELS = ("org.opencontainers.", "fleetwide.")


def recipe_digest(spec: RecipeSpec) -> str:
    """The digest of a recipe's text: equal recipes have equal ones, however they were written."""
    return digest_of(canonical_json(spec.model_dump(mode="json")))


def check_recipe(spec: RecipeSpec) -> None:
    """Refuse a recipe that no bake could use.

    Raises:
        InvalidInput: a default or choice is not of its parameter's type, a text names a parameter
            that there is not, or a label is the platform's.
    """
    faults = [
        *_parameter_faults(spec),
        *placeholder_faults(_texts_of(spec), spec.parameters),
        *(
            FieldFault(f"labels.{name}", "set by the platform")
            for name in spec.labels
            if name.startswith(_PLATFORM_LABELS)
        ),
    ]
    if faults:
        raise from_faults(faults, hint="fleetwide recipe apply -f recipe.yaml")


def _parameter_faults(spec: RecipeSpec) -> Iterator[FieldFault]:
    for name, parameter in spec.parameters.items():
        for choice in parameter.choices:
            fault = value_fault(parameter, choice)
            if fault is not None:
                yield FieldFault(f"parameters.{name}.choices", fault, repr(choice)[:80])
        default = parameter.default
        fault = None if default is None else value_fault(parameter, default)
        if fault is not None:
            yield FieldFault(f"parameters.{name}.default", fault, repr(default)[:80])


def apply_recipe(spec: BakeSpec, recipe: Recipe) -> tuple[BakeSpec, AppliedRecipe]:
    """The bake with what the recipe gives, and what the recipe adds besides.

    What the spec says for itself goes before the recipe; a value that is the default counts as
    not said. Environment and labels are merged name by name, packages and ports are united. A
    recipe's command belongs to its entry point: it does not follow another one. Applying the
    same recipe again changes nothing.

    Raises:
        InvalidInput: parameters are unknown, missing or wrong, or the outcome is not valid.
    """
    faults = list(value_faults(recipe.spec.parameters, spec.parameters))
    hint = f"fleetwide recipe show {recipe.reference}"
    if faults:
        raise from_faults(faults, hint=hint)
    try:
        ready = RecipeSpec.model_validate(_with_values(recipe.spec, spec.parameters))
        merged = BakeSpec.model_validate({**spec.model_dump(), **_merged(spec, ready)})
    except ValidationError as error:
        raise invalid_input(error, hint=hint) from error
    return merged, AppliedRecipe(
        reference=recipe.reference, files=ready.files, drop_setuid=ready.drop_setuid
    )


def _texts_of(recipe: RecipeSpec) -> dict[str, Any]:
    return recipe.model_dump(mode="json", include=set(_TEXTS), exclude_none=True)


def _with_values(recipe: RecipeSpec, given: dict[str, str]) -> dict[str, Any]:
    values = {
        name: given.get(name, parameter.default or "")
        for name, parameter in recipe.parameters.items()
    }
    return {**recipe.model_dump(), **filled(_texts_of(recipe), values)}


def _merged(spec: BakeSpec, recipe: RecipeSpec) -> dict[str, Any]:
    """The fields of the bake that the recipe has a say in."""
    fields: dict[str, Any] = {
        name: _own_or(spec, recipe, name) for name in (*_SINGLE, "entrypoint")
    }
    for name in _UNITED:
        fields[name] = sorted({*getattr(spec, name), *getattr(recipe, name)})
    replaced = recipe.entrypoint and fields["entrypoint"] != recipe.entrypoint
    return {
        **fields,
        "command": spec.command if replaced else spec.command or recipe.command,
        "env": {**recipe.env, **spec.env},
        "labels": {**recipe.labels, **spec.labels},
        "init": spec.init or recipe.init,
    }


def _own_or(spec: BakeSpec, recipe: RecipeSpec, name: str) -> Any:
    own, offered = getattr(spec, name), getattr(recipe, name)
    is_default = own == type(spec).model_fields[name].get_default()
    return offered if is_default and offered else own

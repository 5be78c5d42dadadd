"""Pydantic's validation errors in Fleetwide's words: the same for the API, the CLI and workflows.

``container.resources.cpu: must be at least 0.001 (given: -1)``
"""

import difflib
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from fleetwide.errors import FieldFault, InvalidInput
from fleetwide.models.texts import LINE_PATTERN, PROSE_PATTERN, WORD_PATTERN

MAX_FAULTS = 20
MAX_FAULTS_IN_MESSAGE = 5
MAX_GIVEN = 80
MAX_FIELD = 200
ROOT = "input"

# Values under these keys may be secrets: what is wrong is told, what was given is not.
SECRET_KEYS = frozenset({"env", "extended_attributes"})
_CREDENTIALS = re.compile(r"://[^/\s]*@")

_PLAIN: dict[str, str] = {
    "missing": "missing",
    "missing_argument": "missing",
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "byte_size": "must be a number of bytes or a text such as 512MiB",
    "byte_size_unit": "must be a number of bytes or a text such as 512MiB",
}


_TEXT_PATTERNS = {
    LINE_PATTERN: "must be one line without control characters",
    PROSE_PATTERN: "must not hold control characters",
    WORD_PATTERN: "must not hold NUL characters",
}


def _number(value: float) -> str:
    """A limit as people write it: 96 and not 96.0."""
    return str(int(value)) if float(value).is_integer() else str(value)


_WITH_NUMBERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda ctx: f"must be at least {_number(ctx['ge'])}",
    "greater_than": lambda ctx: f"must be more than {_number(ctx['gt'])}",
    "less_than_equal": lambda ctx: f"must be at most {_number(ctx['le'])}",
    "less_than": lambda ctx: f"must be less than {_number(ctx['lt'])}",
    "enum": lambda ctx: f"must be {ctx['expected']}",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "string_pattern_mismatch": lambda ctx: (
        _TEXT_PATTERNS.get(ctx["pattern"]) or f"must match {ctx['pattern']}"
    ),
    "string_too_short": lambda ctx: f"must have at least {ctx['min_length']} characters",
    "string_too_long": lambda ctx: f"must have at most {ctx['max_length']} characters",
    "too_short": lambda ctx: f"must have at least {ctx['min_length']} items",
    "too_long": lambda ctx: f"must have at most {ctx['max_length']} items",
    "value_error": lambda ctx: str(ctx["error"]),
    "json_invalid": lambda ctx: f"is not JSON: {ctx['error']}",
}
_WITHOUT_GIVEN = frozenset({"missing", "missing_argument", "extra_forbidden", "json_invalid"})


def faults_of(
    error: ValidationError, model: type[BaseModel] | None = None
) -> tuple[FieldFault, ...]:
    """Each wrong field of ``error``; ``model`` (what was being read) allows did-you-mean."""
    return faults_from(error.errors(include_url=False), model)


def faults_from(
    details: Iterable[Mapping[str, Any]], model: type[BaseModel] | None = None
) -> tuple[FieldFault, ...]:
    """The same from pydantic's error dictionaries, as frameworks hand them on."""
    return tuple(_fault(detail, model) for detail in list(details)[:MAX_FAULTS])


def invalid_input(
    error: ValidationError, model: type[BaseModel] | None = None, *, hint: str | None = None
) -> InvalidInput:
    """The one error that tells every fault of ``error``."""
    return from_faults(faults_of(error, model), hint=hint)


def from_faults(faults: Sequence[FieldFault], *, hint: str | None = None) -> InvalidInput:
    """One short error for some faults; all of them are in its ``fields``."""
    told = "; ".join(str(fault) for fault in faults[:MAX_FAULTS_IN_MESSAGE])
    more = len(faults) - MAX_FAULTS_IN_MESSAGE
    return InvalidInput(
        told + (f"; and {more} more" if more > 0 else ""), hint=hint, fields=tuple(faults)
    )


def _fault(detail: Mapping[str, Any], model: type[BaseModel] | None) -> FieldFault:
    location = tuple(detail.get("loc", ()))
    return FieldFault(
        field_path(location), _message(detail, location, model), _given(detail, location)
    )


def field_path(location: Sequence[str | int]) -> str:
    """``("artifacts", 0, "sha256")`` as ``artifacts[0].sha256``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else str(part)
    return text[:MAX_FIELD] or ROOT


def _message(
    detail: Mapping[str, Any], location: tuple[str | int, ...], model: type[BaseModel] | None
) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return "unknown key" + _did_you_mean(location, model)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _WITH_NUMBERS:
        return _WITH_NUMBERS[kind](detail.get("ctx", {}))
    text = str(detail["msg"]).replace("Input should be", "must be")
    return text[:1].lower() + text[1:]


def _did_you_mean(location: tuple[str | int, ...], model: type[BaseModel] | None) -> str:
    owner = _model_at(location[:-1], model)
    if owner is None or not location:
        return ""
    close = difflib.get_close_matches(str(location[-1]), owner.model_fields, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(sorted(owner.model_fields))}"


def _model_at(
    location: Sequence[str | int], model: type[BaseModel] | None
) -> type[BaseModel] | None:
    for part in location:
        if model is None:
            return None
        if isinstance(part, str):
            field = model.model_fields.get(part)
            model = _model_in(field.annotation) if field else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (list, tuple, Annotated, Union, types.UnionType):
        for argument in get_args(annotation):
            found = _model_in(argument)
            if found:
                return found
    return None


def _given(detail: Mapping[str, Any], location: tuple[str | int, ...]) -> str | None:
    if detail["type"] in _WITHOUT_GIVEN or SECRET_KEYS.intersection(location):
        return None
    given = detail.get("input")
    if detail["type"] == "value_error" and isinstance(given, Mapping | list):
        return None
    return shown(given)


def shown(value: object) -> str | None:
    """A scalar as people wrote it, cut short, without credentials in an address; else its kind."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int() if abs(value) > 10**MAX_GIVEN:
            return "a very large number"
        case int() | float() | str():
            return _short(_CREDENTIALS.sub("://***@", repr(value)))
        case Mapping():
            return "an object"
        case list() | tuple():
            return f"a list of {len(value)}"
    return None


def _short(text: str) -> str:
    return text if len(text) <= MAX_GIVEN else text[: MAX_GIVEN - 3] + "..."

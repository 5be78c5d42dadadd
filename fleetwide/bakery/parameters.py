"""Values for a recipe's parameters, and the places in its texts where they go."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fleetwide.errors import FieldFault
from fleetwide.models.recipes import Parameter, ParameterType

MAX_VALUE = 4000
"""Characters of one value; more belongs into a file of the artifact."""
_PLACEHOLDER = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^{}]*)\}|\{)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SHAPES: dict[ParameterType, tuple[re.Pattern[str], str]] = {
    ParameterType.STRING: (re.compile(r"(?s).*"), "must be a text"),
    ParameterType.INTEGER: (re.compile(r"0|-?[1-9][0-9]{0,17}"), "must be a whole number"),
    ParameterType.BOOLEAN: (re.compile(r"true|false"), "must be true or false"),
}


def value_fault(parameter: Parameter, value: str) -> str | None:
    """What is wrong with a value, if anything."""
    shape, sentence = _SHAPES[parameter.type]
    if len(value) > MAX_VALUE:
        return f"must have at most {MAX_VALUE} characters"
    if _CONTROL.search(value):
        return "must not hold control characters"
    if not shape.fullmatch(value):
        return sentence
    if parameter.choices and value not in parameter.choices:
        return f"must be one of {', '.join(parameter.choices)}"
    return None


def value_faults(
    parameters: Mapping[str, Parameter], given: Mapping[str, str]
) -> Iterator[FieldFault]:
    """Every fault of the ``given`` values at once; a value may be secret, so none is told."""
    for name in sorted(given.keys() - parameters.keys()):
        yield FieldFault(f"parameters.{name}", f"unknown{_nearest(name, parameters)}")
    for name, parameter in sorted(parameters.items()):
        value = given.get(name, parameter.default)
        fault = "missing" if value is None else value_fault(parameter, value)
        if fault is not None:
            yield FieldFault(f"parameters.{name}", fault)


def _nearest(name: str, known: Mapping[str, Parameter]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    if not known:
        return "; the recipe has no parameters"
    return f"; known are {', '.join(sorted(known))}"


def placeholder_faults(
    document: Any, known: Mapping[str, Parameter], field: str = ""
) -> Iterator[FieldFault]:
    """Every ``${name}`` in the texts of a document that stands for no parameter."""
    for place, text in _texts(document, field):
        for match in _PLACEHOLDER.finditer(text):
            name = match["name"]
            if match["dollar"] is None and name not in known:
                yield FieldFault(place, _unknown(name, known))


def _unknown(name: str | None, known: Mapping[str, Parameter]) -> str:
    if name is None:
        return "has a ${ without its }; a dollar is written $$"
    return f"has no parameter for ${{{name}}}{_nearest(name, known)}; a dollar is written $$"


def _texts(document: Any, field: str) -> Iterator[tuple[str, str]]:
    match document:
        case str():
            yield field, document
        case list():
            for number, item in enumerate(document):
                yield from _texts(item, f"{field}[{number}]")
        case dict():
            for key, item in document.items():
                yield from _texts(item, f"{field}.{key}" if field else key)


def filled(document: Any, values: Mapping[str, str]) -> Any:
    """The document with the values in the places of its texts; every place must have one.

    What a value brings is never read again: a ``${`` in it stays as it is.
    """
    match document:
        case str():
            return _PLACEHOLDER.sub(lambda found: _value(found, values), document)
        case list():
            return [filled(item, values) for item in document]
        case dict():
            return {key: filled(item, values) for key, item in document.items()}
    return document


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    return "$" if found["dollar"] else values[found["name"]]

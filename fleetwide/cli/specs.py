"""Specs from files and flags: flags win over the file, the model has the last word."""

import shlex
import sys
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.validation import invalid_input

Model = TypeVar("Model", bound=BaseModel)
MAX_SPEC_BYTES = 1024 * 1024


def read_spec(path: Path | None) -> dict[str, Any]:
    """The file's mapping; empty without a file.

    Raises:
        InvalidInput: the file cannot be read or is no mapping; a syntax error names its line.
    """
    if path is None:
        return {}
    text = _text(path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is neither YAML nor JSON{_line(error)}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} must be one mapping of keys to values")
    return content


def _text(path: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(MAX_SPEC_BYTES + 1) if str(path) == "-" else path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text") from error
    if len(raw) > MAX_SPEC_BYTES:
        raise InvalidInput(f"{path} is above {MAX_SPEC_BYTES} bytes")
    return text


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not well-formed"
    return f": line {mark.line + 1}: {problem}" if mark else f": {problem}"


def merge(base: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the flags that were given; mappings are merged, other values replaced."""
    merged = dict(base)
    for key, value in flags.items():
        if value is None or value in ([], {}):
            continue
        below = merged.get(key)
        merged[key] = (
            merge(below if isinstance(below, dict) else {}, value)
            if isinstance(value, dict)
            else value
        )
    return merged


def parse(model: type[Model], content: dict[str, Any]) -> Model:
    """The spec, or every fault of it at once.

    Raises:
        InvalidInput: it is not valid.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise invalid_input(error, model) from error


def pairs(values: list[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping."""
    found: dict[str, str] = {}
    for text in values or []:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise InvalidInput(f"{option}: must be NAME=VALUE", hint=f"{option} COLOUR=blue")
        found[name] = value
    return found


def words(text: str | None, option: str) -> list[str] | None:
    """A command line as its words, split as a shell does."""
    try:
        return None if text is None else shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from error

"""Read ``temporal-dev.yaml``; every fault is told with its line."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fleetwide.dev.config import DevConfig, Environments, Process, Server, TemporalEnv
from fleetwide.errors import FieldFault, InvalidInput, NotFound

Location = tuple[str, ...]
Lines = dict[Location, int]

_MODELS: dict[Location, type[BaseModel]] = {
    (): DevConfig,
    ("env",): Environments,
    ("env", "dev"): TemporalEnv,
    ("server",): Server,
}
_HINT = "the header of temporal-dev.yaml says which shape each section has"


def load(path: Path) -> DevConfig:
    """The configuration in file ``path``.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file is not YAML, or a key or value is wrong; each fault has its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(
            f"{path}: no such file", hint="run this in the project's folder or give --file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from None
    return parse(text, path.name)


def parse(text: str, source: str = "temporal-dev.yaml") -> DevConfig:
    """The configuration that ``text`` says; ``source`` names it in errors.

    Raises:
        InvalidInput: ``fields`` names each fault, the message has one line for each.
    """
    lines: Lines = {}
    data = _compose(text, source, lines)
    try:
        config = DevConfig.model_validate(data)
    except ValidationError as error:
        faults = [_fault(detail) for detail in error.errors(include_url=False)]
        raise _invalid(source, lines, faults) from None
    faults = _order_faults(config) + _port_faults(config)
    if faults:
        raise _invalid(source, lines, faults)
    return config


def _compose(text: str, source: str, lines: Lines) -> Any:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        duplicates = _index(node, (), lines)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInput(f"{source}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{source}:1: not YAML: {error}") from None
    if duplicates:
        raise _invalid(source, lines, duplicates)
    if not isinstance(data, dict):
        raise InvalidInput(f"{source}:1: must be a map of sections", hint=_HINT)
    return data


def _index(node: yaml.Node | None, at: Location, lines: Lines) -> list[tuple[Location, str]]:
    """Note the line of every key below ``node``; return the keys that stand twice."""
    faults: list[tuple[Location, str]] = []
    if not isinstance(node, yaml.MappingNode):
        return faults
    for key, value in node.value:
        inner = (*at, str(key.value))
        if inner in lines:
            faults.append((inner, f"stands twice, first on line {lines[inner]}"))
        lines[inner] = key.start_mark.line + 1
        faults += _index(value, inner, lines)
    return faults


def _fault(detail: ErrorDetails) -> tuple[Location, str]:
    at = tuple(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        return at, _unknown_key(at)
    message = detail["msg"].removeprefix("Value error, ")
    given = detail["input"]
    if isinstance(given, str | int | float):
        message += f" (given: {str(given)[:80]})"
    return at, message[0].lower() + message[1:]


def _unknown_key(at: Location) -> str:
    known = _known_keys(at[:-1])
    close = difflib.get_close_matches(at[-1], known, n=1, cutoff=0.5)
    return (
        f"unknown key; did you mean {close[0]}?"
        if close
        else (f"unknown key; known: {', '.join(known)}")
    )


def _known_keys(at: Location) -> list[str]:
    model = _MODELS.get(at, Process)
    return [field.alias or name for name, field in model.model_fields.items()]


def _order_faults(config: DevConfig) -> list[tuple[Location, str]]:
    faults: list[tuple[Location, str]] = []
    for name, process in config.processes.items():
        at = ("processes", name, "after")
        for need in process.needs:
            if need not in config.processes:
                close = difflib.get_close_matches(need, config.processes, n=1)
                more = f"; did you mean {close[0]}?" if close else ""
                faults.append((at, f"no process is called {need}{more}"))
    return faults or _cycle_faults(config)


def _cycle_faults(config: DevConfig) -> list[tuple[Location, str]]:
    waiting = {name: set(process.needs) for name, process in config.processes.items()}
    while ready := [name for name, needs in waiting.items() if not needs]:
        for name in ready:
            del waiting[name]
        for needs in waiting.values():
            needs.difference_update(ready)
    names = ", ".join(sorted(waiting))
    return [
        (("processes", name, "after"), f"these wait for each other: {names}")
        for name in list(waiting)[:1]
    ]


def _port_faults(config: DevConfig) -> list[tuple[Location, str]]:
    faults: list[tuple[Location, str]] = []
    owners: dict[int, Location] = {}
    places: list[tuple[Location, int | None]] = [
        (("env", "dev", "port"), config.temporal.port),
        (("env", "dev", "ui-port"), config.temporal.ui_port),
    ]
    for name, process in config.processes.items():
        places.append((("processes", name, "port"), process.port))
        places.append((("processes", name, "metrics-port"), process.metrics_port))
    for at, port in places:
        if port is None:
            continue
        if port in owners:
            faults.append((at, f"{port} is the port of {'.'.join(owners[port])} already"))
        owners.setdefault(port, at)
    return faults


def _invalid(source: str, lines: Lines, faults: list[tuple[Location, str]]) -> InvalidInput:
    told = sorted((_line(at, lines), ".".join(at), message) for at, message in faults)
    texts = [f"{source}:{line}: {key}: {message}" for line, key, message in told]
    fields = tuple(FieldFault(key, message) for _, key, message in told)
    return InvalidInput("\n".join(texts), hint=_HINT, fields=fields)


def _line(at: Location, lines: Lines) -> int:
    """The line of the key, or of the nearest key above it (a missing key has none of its own)."""
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)

"""What ``temporal-dev.yaml`` may say, as models, and pure questions to it.

The shape is that of the Temporal CLI's env file: section, name, key, scalar.
"""

import re
import shlex
from enum import StrEnum
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from fleetwide.models.base import Name
from fleetwide.models.described import Described

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = frozenset({"state", "port", "metrics-port", "ip", "ui-port", "namespace"})
HEALTH_KINDS = ("http://", "tcp:", "unix:/", "file:/", "file:{state}", "unix:{state}")

Port = Annotated[int, Field(ge=1, le=65535, strict=True)]


def _one_value(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("must be one value, not a list or a map")  # noqa: TRY004 (for pydantic)
    return value


def _known_placeholders(text: str) -> str:
    for name in PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            allowed = ", ".join(sorted(PLACEHOLDERS))
            raise ValueError(f"unknown placeholder {{{name}}}; allowed: {allowed}")
    return text


def _known_health(text: str) -> str:
    if not text.startswith(HEALTH_KINDS):
        raise ValueError("must be http://..., tcp:host:port, unix:/path or file:/path")
    return text


def _assignments(text: str) -> str:
    for word in shlex.split(text):
        if not re.match(r"[A-Za-z_]\w*=", word):
            raise ValueError(f"must be NAME=value NAME=value, {word} is not")
    return text


def _words(text: str) -> str:
    if not shlex.split(text):
        raise ValueError("must name a program")
    return text


Scalar = Annotated[bool | int | float | str, BeforeValidator(_one_value)]
Template = Annotated[str, Field(min_length=1), AfterValidator(_known_placeholders)]
AttributeType = Literal["Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList"]


class Restart(StrEnum):
    """When a process that ended is started again."""

    ALWAYS = "always"
    NEVER = "never"
    ON_FAILURE = "on-failure"


class Section(Described):
    """Keys are written with dashes, as the Temporal CLI's flags are; unknown ones are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
    )


class TemporalEnv(Section):
    """``env.dev``: the Temporal server's address and place; also the CLI's default flags."""

    address: str
    namespace: Name = "default"
    task_queue: str = "control"
    ip: str = "127.0.0.1"
    port: Port = 7233
    ui_port: Port = 8233
    db_filename: str = "temporal.db"
    """Its last part is the file's name in the state folder; the CLI takes it as it stands."""
    log_level: Literal["debug", "info", "warn", "error", "never"] = "warn"

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.address != f"{self.ip}:{self.port}":
            raise ValueError(f"address must be ip:port, here {self.ip}:{self.port}")
        return self


class Environments(Section):
    """``env``: the environments that the Temporal CLI can choose from; the launcher uses dev."""

    dev: TemporalEnv


class Server(Section):
    """``server``: what the Temporal server needs beyond the CLI's flags."""

    search_attributes: dict[str, AttributeType] = Field(default_factory=dict)
    dynamic_config: dict[str, Scalar] = Field(default_factory=dict)
    sqlite_pragma: dict[str, Scalar] = Field(default_factory=dict)


class Process(Section):
    """One supervised process."""

    command: Annotated[Template, AfterValidator(_words)]
    port: Port | None = None
    metrics_port: Port | None = None
    """Port of its Prometheus metrics, given to it as FLEETWIDE_METRICS_ADDRESS."""
    health: Annotated[Template, AfterValidator(_known_health)] | None = None
    restart: Restart = Restart.ALWAYS
    after: str = ""
    """Names, separated by blanks, of the processes that must be healthy before this one starts."""
    environment: Annotated[Template, AfterValidator(_assignments)] | None = None
    """``NAME=value NAME=value``, quoted as in a shell."""
    start_seconds: int = Field(120, ge=1, le=600)
    """Only ends a hang: a process that died is told at once, and a busy machine starts slowly."""
    stop_seconds: int = Field(10, ge=1, le=600)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(self.after.split())

    @property
    def one_shot(self) -> bool:
        """Whether the process is ready by ending well, not by staying up."""
        return self.restart is Restart.NEVER and self.health is None


class DevConfig(Section):
    """The whole of ``temporal-dev.yaml``."""

    env: Environments
    server: Server = Field(default_factory=Server)
    processes: dict[Name, Process]

    @property
    def temporal(self) -> TemporalEnv:
        return self.env.dev


def ports_of(config: DevConfig, name: str) -> tuple[int, ...]:
    """The ports that process ``name`` listens on, the main one first."""
    process = config.processes[name]
    own = (process.port, process.metrics_port)
    server = (config.temporal.port, config.temporal.ui_port) if name == "temporal" else ()
    return (*server, *(port for port in own if port is not None))


def with_ports(config: DevConfig, base: int) -> DevConfig:
    """The same platform on the ports ``base``, ``base + 1``, ...; health checks follow."""
    free = iter(range(base, 65536))
    dev = config.temporal
    port, ui_port = next(free), next(free)
    moved = dev.model_copy(update={"port": port, "ui_port": ui_port, "address": f"{dev.ip}:{port}"})
    processes = {
        name: process.model_copy(
            update={
                key: next(free)
                for key in ("port", "metrics_port")
                if getattr(process, key) is not None
            }
        )
        for name, process in config.processes.items()
    }
    env = config.env.model_copy(update={"dev": moved})
    return config.model_copy(update={"env": env, "processes": processes})


def only(config: DevConfig, names: tuple[str, ...]) -> DevConfig:
    """The platform reduced to ``names`` and what they come after."""
    wanted: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in wanted:
            wanted.add(name)
            open_names.extend(config.processes[name].needs)
    kept = {name: process for name, process in config.processes.items() if name in wanted}
    return config.model_copy(update={"processes": kept})


def without(config: DevConfig, name: str) -> DevConfig:
    """The platform less one process; nothing waits for it any more."""
    processes = {
        other: process.model_copy(
            update={"after": " ".join(need for need in process.needs if need != name)}
        )
        for other, process in config.processes.items()
        if other != name
    }
    return config.model_copy(update={"processes": processes})


def dump(config: DevConfig) -> str:
    """The YAML text of ``config``; parsing it gives an equal one."""
    data = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False)

"""From the configuration to command lines and environments. Pure.

A plan is all that the supervisor, ``status``, ``logs`` and ``down`` need to know; it is kept in
the state folder, so that they work without the file it came from.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from pydantic import SecretStr

from fleetwide.dev.config import (
    PLACEHOLDER,
    DevConfig,
    Process,
    Restart,
    dump,
    ports_of,
)
from fleetwide.errors import InvalidInput
from fleetwide.models.base import Record
from fleetwide.settings import Settings

MARKER = "FLEETWIDE_DEV_STATE"
"""Environment variable of everything that a platform starts: its state folder."""


class Grant(StrEnum):
    """What only some processes may hold."""

    DATABASE = "database"
    AWS = "aws"
    DOCKER = "docker"
    DISTRIBUTION = "distribution"
    """What lies behind the registry's gateway."""
    TOKENS = "tokens"
    """The key of the registry's tokens, and the hashes of the platform's own accounts: what tells
    gateway and API who asks."""


GRANTS: dict[str, frozenset[Grant]] = {
    "migrate": frozenset({Grant.DATABASE}),
    "gateway": frozenset({Grant.DATABASE, Grant.DISTRIBUTION, Grant.TOKENS}),
    "api": frozenset({Grant.DATABASE, Grant.AWS, Grant.TOKENS}),
    "control": frozenset({Grant.DATABASE, Grant.AWS}),
    "scheduler": frozenset({Grant.DATABASE, Grant.AWS}),
    "storage": frozenset({Grant.DATABASE, Grant.DISTRIBUTION}),
    "replication": frozenset({Grant.DATABASE}),
    "builder": frozenset({Grant.AWS}),
    "host": frozenset({Grant.DOCKER}),
}
"""Who holds what. A process that is not listed holds nothing."""

_INHERITED = re.compile(
    r"(PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_RUNTIME_DIR|SSL_CERT_(FILE|DIR)"
    r"|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|OTEL_\w+|FLEETWIDE_\w+)$"
)
_SECRETS = frozenset(
    f"FLEETWIDE_{name.upper()}"
    for name, field in Settings.model_fields.items()
    if field.annotation is SecretStr
)
_OWN = frozenset(
    {
        "FLEETWIDE_DOCKER_URL",
        "FLEETWIDE_AWS_ENDPOINT_URL",
        "FLEETWIDE_METRICS_ADDRESS",
        "FLEETWIDE_REGISTRY_BACKEND_URL",
        "FLEETWIDE_REGISTRY_STORAGE",
        "FLEETWIDE_REGISTRY_TOKEN_KEY",
        "FLEETWIDE_REGISTRY_ACCOUNTS",
        "FLEETWIDE_REGISTRY_USERNAME",
    }
)
_STATE_PATH = re.compile(r"/[\w./@+ -]*$")
_UNSAFE_VALUE = re.compile(r"[\r\n\0]|\s[;#]")


class PlannedProcess(Record):
    """One process, ready to start; ``environment`` adds to what the supervisor itself has."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    ports: tuple[int, ...]
    health: str | None
    restart: Restart
    one_shot: bool
    needs: tuple[str, ...]
    start_seconds: int
    stop_seconds: int


class Plan(Record):
    """A whole platform, ready to start."""

    state: Path
    """Absolute folder of all state; it also names the platform."""
    processes: tuple[PlannedProcess, ...]
    docker_url: str
    temporal_address: str
    namespace: str
    search_attributes: dict[str, str]
    fingerprint: str
    """Changes when the configuration does."""

    def process(self, name: str) -> PlannedProcess:
        return next(process for process in self.processes if process.name == name)

    @property
    def logs(self) -> Path:
        return self.state / "logs"


@dataclass(frozen=True)
class Surroundings:
    """What a plan takes from the machine it is made on."""

    state: Path
    docker_url: str
    bin_dir: Path
    """Folder of the ``fleetwide`` and ``temporal`` programs; first on every PATH."""


def derive(config: DevConfig, around: Surroundings) -> Plan:
    """The plan for ``config``.

    Raises:
        InvalidInput: the state folder or a value cannot be written into the supervisor's file.
    """
    _check_state(around.state)
    processes = tuple(_process(config, name, around) for name in config.processes)
    return Plan(
        state=around.state,
        processes=processes,
        docker_url=around.docker_url,
        temporal_address=config.temporal.address,
        namespace=config.temporal.namespace,
        search_attributes=dict(config.server.search_attributes),
        fingerprint=hashlib.sha256(dump(config).encode()).hexdigest()[:16],
    )


def _check_state(state: Path) -> None:
    if not _STATE_PATH.match(str(state)):
        raise InvalidInput.for_field(
            "state folder",
            "must be absolute, of letters, digits, blanks and ./@+_-",
            given=str(state),
            hint="give another folder with --state-dir",
        )


def _process(config: DevConfig, name: str, around: Surroundings) -> PlannedProcess:
    process = config.processes[name]
    health = None if process.health is None else fill(process.health, config, process, around)
    return PlannedProcess(
        name=name,
        command=command_line(config, name, around),
        environment=environment(config, name, around),
        ports=ports_of(config, name),
        health=health,
        restart=process.restart,
        one_shot=process.one_shot,
        needs=process.needs,
        start_seconds=process.start_seconds,
        stop_seconds=process.stop_seconds,
    )


def fill(text: str, config: DevConfig, process: Process, around: Surroundings) -> str:
    """``text`` with every ``{placeholder}`` replaced."""
    values: dict[str, object] = {
        "state": around.state,
        "port": process.port,
        "metrics-port": process.metrics_port,
        "ip": config.temporal.ip,
        "ui-port": config.temporal.ui_port,
        "namespace": config.temporal.namespace,
    }
    return PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)


def command_line(config: DevConfig, name: str, around: Surroundings) -> tuple[str, ...]:
    """The argument list of process ``name``; the Temporal server's gets its derived flags."""
    process = config.processes[name]
    words = [fill(word, config, process, around) for word in shlex.split(process.command)]
    return (*words, *(temporal_flags(config, around.state) if name == "temporal" else ()))


def temporal_flags(config: DevConfig, state: Path) -> list[str]:
    """The flags of ``temporal server start-dev`` that ``env.dev`` and ``server`` ask for."""
    dev, server = config.temporal, config.server
    flags = ["--ip", dev.ip, "--port", str(dev.port), "--ui-port", str(dev.ui_port)]
    flags += ["--db-filename", str(state / PurePosixPath(dev.db_filename).name)]
    flags += ["--namespace", dev.namespace, "--log-level", dev.log_level]
    for key, kind in server.search_attributes.items():
        flags += ["--search-attribute", f"{key}={kind}"]
    for key, value in server.dynamic_config.items():
        flags += ["--dynamic-config-value", f"{key}={json.dumps(value)}"]
    for key, value in server.sqlite_pragma.items():
        flags += ["--sqlite-pragma", f"{key}={value}"]
    return flags


def environment(config: DevConfig, name: str, around: Surroundings) -> dict[str, str]:
    """What process ``name`` gets beside the inherited variables: settings, and what it may hold."""
    process = config.processes[name]
    values = _common(config, around)
    for grant in sorted(GRANTS.get(name, frozenset())):
        values |= _granted(grant, config, around)
    if process.metrics_port is not None:
        values["FLEETWIDE_METRICS_ADDRESS"] = f"127.0.0.1:{process.metrics_port}"
    for word in shlex.split(process.environment or ""):
        key, _, value = fill(word, config, process, around).partition("=")
        values[key] = value
    for key, value in values.items():
        if _UNSAFE_VALUE.search(value):
            raise InvalidInput.for_field(
                f"processes.{name}.environment.{key}",
                "must not hold a line break, nor a blank before ; or #",
            )
    return values


def _common(config: DevConfig, around: Surroundings) -> dict[str, str]:
    dev, state = config.temporal, around.state
    values = {
        "PYTHONUNBUFFERED": "1",
        "FLEETWIDE_STATE_DIR": str(state),
        "FLEETWIDE_BUILDER_DIR": str(state / "builder"),
        "FLEETWIDE_OBJECT_STORE_URL": f"file:{state / 'objects'}",
        "FLEETWIDE_SIGNING_KEY": str(state / "signing-key.pem"),
        "FLEETWIDE_TEMPORAL_ADDRESS": dev.address,
        "FLEETWIDE_TEMPORAL_NAMESPACE": dev.namespace,
        "FLEETWIDE_TEMPORAL_UI_URL": f"http://{dev.ip}:{dev.ui_port}",
    }
    if registry := _port(config, "registry"):
        values["FLEETWIDE_REGISTRY_URL"] = f"http://127.0.0.1:{registry}"
    if gateway := _port(config, "gateway"):
        values["FLEETWIDE_REGISTRY_PORT"] = str(gateway)
    if api := _port(config, "api"):
        values["FLEETWIDE_API_URL"] = f"http://127.0.0.1:{api}"
        values["FLEETWIDE_API_HOST"] = "127.0.0.1"
        values["FLEETWIDE_API_PORT"] = str(api)
    return values


def _granted(grant: Grant, config: DevConfig, around: Surroundings) -> dict[str, str]:
    if grant is Grant.DATABASE:
        return {"FLEETWIDE_DATABASE_URL": f"sqlite:///{around.state / 'fleetwide.db'}"}
    if grant is Grant.DOCKER:
        return {"FLEETWIDE_DOCKER_URL": around.docker_url}
    if grant is Grant.DISTRIBUTION:
        return _distribution(config, around)
    if grant is Grant.TOKENS:
        return {
            "FLEETWIDE_REGISTRY_TOKEN_KEY": str(around.state / "registry-token-key.pem"),
            "FLEETWIDE_REGISTRY_ACCOUNTS": str(around.state / "registry-accounts.json"),
        }
    port = _port(config, "aws")
    if port is None:
        return {}
    return {
        "FLEETWIDE_AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "development",
        "AWS_SECRET_ACCESS_KEY": "development",
    }


def _distribution(config: DevConfig, around: Surroundings) -> dict[str, str]:
    values = {"FLEETWIDE_REGISTRY_STORAGE": f"file:{around.state / 'registry'}"}
    if port := _port(config, "distribution"):
        values["FLEETWIDE_REGISTRY_BACKEND_URL"] = f"http://127.0.0.1:{port}"
    return values


def _port(config: DevConfig, name: str) -> int | None:
    return config.processes[name].port if name in config.processes else None


def inherited(shell: Mapping[str, str], around: Surroundings) -> dict[str, str]:
    """What the supervisor, and so every process, takes over from the shell: no credentials.

    Settings that the platform gives itself are left out, so that they reach only their holders.
    """
    own = _SECRETS | _OWN
    kept = {key: value for key, value in shell.items() if _INHERITED.match(key) and key not in own}
    path = [str(around.bin_dir), *kept.get("PATH", "/usr/bin:/bin").split(":")]
    path += [folder for folder in ("/usr/sbin", "/sbin") if folder not in path]
    return kept | {"PATH": ":".join(path), MARKER: str(around.state)}

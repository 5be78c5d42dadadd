"""Options of the command line for what a container gets of its host."""

import re
from collections.abc import Sequence
from typing import Any

import typer

PORT_HELP = "NAME, NAME:PORT-INSIDE or NAME=HOST-PORT, with /udp behind if it is that; repeatable."
_PORT = re.compile(
    r"(?P<name>[^:=/]+)(?:=(?P<static>\d+))?(?::(?P<to>\d+))?(?:/(?P<protocol>tcp|udp))?"
)


def resource_flags(
    disk: str | None, network: int | None, gpus: int | None, ports: Sequence[str] | None
) -> dict[str, Any]:
    """The resources part of a spec; what was not given stays away."""
    given = {"disk": disk, "network": network, "gpus": gpus}
    found: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if ports:
        found["ports"] = dict(map(_port, ports))
    return found


def _port(text: str) -> tuple[str, dict[str, Any]]:
    read = _PORT.fullmatch(text)
    if read is None:
        raise typer.BadParameter(f"{text!r} is none of {PORT_HELP}", param_hint="--port")
    parts = read.groupdict()
    values = {key: parts[key] for key in ("static", "to", "protocol") if parts[key] is not None}
    return parts["name"], values

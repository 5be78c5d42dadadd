"""What the commands about OS releases share: arguments, and who decides why."""

import getpass
from typing import Annotated

import typer

from fleetwide.models.os_releases import StandRequest

Line = Annotated[str, typer.Argument(help="The line of releases, for example baseos.")]
Pointer = Annotated[str, typer.Argument(help="A version, a channel or a digest.")]
By = Annotated[str | None, typer.Option(help="Who decides; unset: your user name.")]
Why = Annotated[str, typer.Option("--reason", help="Kept for others to read.")]


def person(by: str | None) -> str:
    """Who decides."""
    return by or getpass.getuser()


def stand(reason: str, by: str | None) -> StandRequest:
    return StandRequest(reason=reason, by=person(by))

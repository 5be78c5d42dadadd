"""Commands whose modules are imported when they are run.

Help, and the servers that start by the command line, import nothing of all the others.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


def noun(help_text: str) -> typer.Typer:
    """A group of commands about one kind of thing."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


def later(app: typer.Typer, commands: Mapping[str, tuple[str, str]]) -> None:
    """Add commands and nouns to ``app``: by name ``module:attribute`` and the help.

    The help is the first paragraph of what the command says of itself; a test compares them.
    """
    for name, (target, help_text) in commands.items():
        app.add_typer(noun(help_text), name=name, cls=_standing_for(target))


def load(target: str) -> Any:
    """The command or group at ``module:attribute`` in ``fleetwide.cli``."""
    module, _, attribute = target.partition(":")
    found = getattr(import_module(f"fleetwide.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command()(found)
    return get_command(alone)


def _standing_for(target: str) -> type[TyperGroup]:
    class Later(TyperGroup):
        def make_context(
            self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
        ) -> Any:
            return load(target).make_context(info_name, args, parent=parent, **extra)

    return Later

"""``fleetwide config``: the settings of this process and where they come from."""

import os

from pydantic import SecretStr

from fleetwide.cli import output
from fleetwide.cli.context import Output, noun
from fleetwide.cli.output import Column, Format, View
from fleetwide.models.base import Record
from fleetwide.models.documents import Page
from fleetwide.settings import Settings, get_settings

app = noun("Settings.")


class Setting(Record):
    """One setting as this process sees it."""

    variable: str
    value: str | None
    origin: str
    description: str


SETTINGS = View[Setting](
    columns=(
        Column("VARIABLE", lambda item: item.variable),
        Column("VALUE", lambda item: item.value),
        Column("FROM", lambda item: item.origin),
        Column("WHAT IT IS", lambda item: item.description, wide=True),
    ),
    name=lambda item: item.variable,
)


@app.callback()
def config() -> None:
    """Settings, read from the environment."""


@app.command()
def show(style: Output = Format.TABLE) -> None:
    """Show every setting, its value and where it came from."""
    output.listing(Page(items=table(get_settings())), SETTINGS, style)


def table(settings: Settings) -> list[Setting]:
    """All settings, in the order of their definition."""
    prefix = str(Settings.model_config.get("env_prefix", ""))
    known = {name.upper() for name in os.environ}
    return [
        Setting(
            variable=f"{prefix}{name.upper()}",
            value=_shown(getattr(settings, name)),
            origin="environment" if f"{prefix}{name.upper()}" in known else "default",
            description=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> str | None:
    if isinstance(value, SecretStr):
        return str(value)
    return None if value is None else str(value)

"""``fleetwide registry login|logout|whoami``: with which account the command line comes."""

import sys
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client
from fleetwide.cli.output import Card, Format
from fleetwide.cli.registry_account import grants_text
from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import OwnRights
from fleetwide.settings import get_settings


def login(
    username: Annotated[str, typer.Option("--username", "-u", help="A registry account.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the secret from standard input.")
    ] = False,
) -> None:
    """Keep an account and its secret for this command line, after the API has accepted them."""
    from fleetwide.client import Client  # noqa: PLC0415
    from fleetwide.providers.api_logins import own_file, remember  # noqa: PLC0415
    from fleetwide.providers.registry_auth import Credentials  # noqa: PLC0415

    given = Credentials(username, _secret(from_stdin=password_stdin))
    with Client(login=given) as api:
        found = api.accounts.whoami()
        address = api.address
    if found.account != username:
        output.note(f"the API at {address} asks nobody for an account; nothing is kept")
        return
    path = own_file(get_settings())
    remember(path, address, given)
    output.note(f"logged in at {address} as {username}; kept in {path}")


def _secret(*, from_stdin: bool) -> str:
    if from_stdin:
        secret = sys.stdin.readline().rstrip("\n")
    else:
        secret = str(typer.prompt("Secret", hide_input=True, err=True))
    if not secret:
        raise InvalidInput.for_field(
            "secret", "must be on standard input", hint="--password-stdin < FILE"
        )
    return secret


def logout() -> None:
    """Forget the account of this command line."""
    from fleetwide.providers.api_logins import forget, own_file  # noqa: PLC0415

    settings = get_settings()
    known = forget(own_file(settings), settings.api_url)
    output.note(f"{'logged out' if known else 'nobody was logged in'} at {settings.api_url}")


def whoami(style: Output = Format.TABLE) -> None:
    """Show with which account this command line comes, and what it may do."""
    with client() as api:
        found = api.accounts.whoami()
    rows = (
        ("account", found.account or "none: the registry asks nobody"),
        ("kind", found.kind.value if found.account else None),
        ("grants", grants_text(found.grants)),
        ("administers", _administers(found)),
    )
    output.record(found, Card(found.account, rows), style)


def _administers(found: OwnRights) -> str:
    return "accounts, quotas and upkeep" if found.administers else "nothing"

"""``fleetwide registry account``: who may pull and push."""

import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import parse
from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import (
    AccountDocument,
    AccountSecret,
    AccountSpec,
    Action,
    Grant,
)
from fleetwide.registry.accounts import hash_secret

app = noun("Accounts of the image registry: who may pull and push.")

Name = Annotated[str, typer.Argument(help="For example ci, host/<host id> or anonymous.")]
GrantTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--grant",
        help="What it may do: REPOSITORIES=ACTIONS, as apps/*=pull,push or *=pull. May be "
        "repeated; actions are pull, push, delete and *.",
    ),
]


def _state(account: AccountDocument) -> str:
    if account.disabled_at is not None:
        return "disabled"
    expired = account.expires_at is not None and account.expires_at <= datetime.now(UTC)
    return "expired" if expired else "active"


def _grants(account: AccountDocument) -> str:
    return grants_text(account.grants)


def grants_text(grants: Sequence[Grant]) -> str:
    """Grants as people type them."""
    return " ".join(
        f"{grant.repositories}={','.join(action.value for action in grant.actions)}"
        for grant in grants
    )


ACCOUNTS = View[AccountDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("KIND", lambda item: item.kind.value),
        Column("STATE", _state),
        Column("GRANTS", _grants),
        Column("LAST USED", lambda item: item.last_used_at),
        Column("EXPIRES", lambda item: item.expires_at),
        Column("OWNER", lambda item: item.created_by, wide=True),
        Column("CREATED", lambda item: item.created_at, wide=True),
        Column("DESCRIPTION", lambda item: item.description, wide=True),
    ),
    name=lambda item: item.name,
)


@app.command()
def create(
    name: Name,
    grant: GrantTexts = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never by default.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    *,
    style: Output = Format.TABLE,
) -> None:
    """Make an account; its secret is printed this once."""
    given: dict[str, object] = {
        "name": name,
        "grants": parse_grants(grant or ()),
        "owner": getpass.getuser(),
        "description": description,
    }
    if days is not None:
        given["expires_at"] = datetime.now(UTC) + timedelta(days=days)
    spec = parse(AccountSpec, given)
    with client() as api:
        _show_secret(api.accounts.create(spec), style)


@app.command("list")
def list_accounts(limit: Limit = 50, cursor: Cursor = None, style: Output = Format.TABLE) -> None:
    """List accounts, without those of the platform's own processes."""
    with client() as api:
        output.listing(api.accounts.list(cursor=cursor, limit=limit), ACCOUNTS, style)


@app.command()
def show(name: Name, style: Output = Format.TABLE) -> None:
    """Show one account."""
    with client() as api:
        _show(api.accounts.get(name), style)


@app.command()
def grant(name: Name, grant: GrantTexts = None, *, style: Output = Format.TABLE) -> None:
    """Replace what an account may do."""
    with client() as api:
        _show(api.accounts.set_grants(name, parse_grants(grant or ())), style)


@app.command()
def rotate(name: Name, style: Output = Format.TABLE) -> None:
    """Give an account another secret; the old one ends at once."""
    with client() as api:
        _show_secret(api.accounts.rotate(name), style)


@app.command()
def disable(name: Name, style: Output = Format.TABLE) -> None:
    """Give an account no more tokens; those that are out end within five minutes."""
    with client() as api:
        _show(api.accounts.disable(name), style)


@app.command()
def enable(name: Name, style: Output = Format.TABLE) -> None:
    """Let a disabled account log in again."""
    with client() as api:
        _show(api.accounts.enable(name), style)


@app.command()
def delete(name: Name) -> None:
    """Remove an account."""
    with client() as api:
        api.accounts.delete(name)
    output.note(f"deleted {name}")


@app.command("hash")
def print_hash() -> None:
    """Read a secret from standard input and print its hash, for the gateway's accounts file."""
    secret = sys.stdin.readline().rstrip("\n")
    if not secret:
        raise InvalidInput.for_field("secret", "must be on standard input", hint="... < FILE")
    output.data(hash_secret(secret))


def parse_grants(texts: Sequence[str]) -> list[Grant]:
    """Grants as people type them: ``apps/*=pull,push``.

    Raises:
        InvalidInput: one of them is not of that form.
    """
    return [_parse_grant(text) for text in texts]


def _parse_grant(text: str) -> Grant:
    repositories, _, actions = text.partition("=")
    try:
        return Grant(
            repositories=repositories, actions=[Action(action) for action in actions.split(",")]
        )
    except ValueError as error:
        raise InvalidInput.for_field(
            "grant", "must be REPOSITORIES=ACTIONS", given=text, hint="--grant 'apps/*=pull,push'"
        ) from error


def _show_secret(made: AccountSecret, style: Format) -> None:
    account = made.account
    if style in (Format.JSON, Format.YAML):
        output.record(made, Card(account.name, ()), style)
        return
    if not made.secret:
        _show(account, style)
        return
    # The secret alone goes to stdout, for `docker login --password-stdin`.
    output.note(f"account {account.name}: {_grants(account) or 'no grants'}")
    output.note("its secret is shown this once:")
    output.data(made.secret)


def _show(account: AccountDocument, style: Format) -> None:
    rows = (
        ("account", account.name),
        ("kind", account.kind.value),
        ("state", _state(account)),
        ("grants", _grants(account)),
        ("description", account.description),
        ("owner", account.created_by),
        ("created", account.created_at),
        ("expires", account.expires_at),
        ("disabled", account.disabled_at),
        ("last used", account.last_used_at),
    )
    output.record(account, Card(account.name, rows), style)

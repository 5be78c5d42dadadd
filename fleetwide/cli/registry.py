"""``fleetwide registry``: what the registry hosts."""

from typing import Annotated

import typer

from fleetwide.cli import output, registry_account, registry_nginx, registry_server
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Column, Format, View
from fleetwide.models.documents import Repository, TagDocument

app = noun("The image registry.")
app.command()(registry_server.serve)
app.add_typer(registry_account.app, name="account")
app.command("nginx-config")(registry_nginx.print_config)

REPOSITORIES = View[Repository](
    columns=(Column("REPOSITORY", lambda item: item.name),), name=lambda item: item.name
)
TAGS = View[TagDocument](
    columns=(
        Column("TAG", lambda item: item.name),
        Column("REFERENCE", lambda item: item.reference),
    ),
    name=lambda item: item.reference,
)


@app.command("list")
def list_repositories(style: Output = Format.TABLE) -> None:
    """List repositories."""
    with client() as api:
        output.listing(api.registry.repositories(), REPOSITORIES, style)


@app.command()
def tags(
    repository: Annotated[str, typer.Argument(help="For example apps/hello.")],
    style: Output = Format.TABLE,
) -> None:
    """List the tags of a repository."""
    with client() as api:
        output.listing(api.registry.tags(repository), TAGS, style)

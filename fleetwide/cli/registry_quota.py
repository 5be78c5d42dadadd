"""``fleetwide registry quota|usage``: what namespaces hold and may hold."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import parse
from fleetwide.models.documents import Page
from fleetwide.models.registry_documents import (
    NamespaceDocument,
    NamespaceSettings,
    Usage,
    UsageBy,
    UsageReport,
)

app = noun("What namespaces may hold.")
NO_LIMIT = "none"

Namespace = Annotated[str, typer.Argument(help="The first part of repositories' names.")]

USAGE = View[Usage](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("REPOSITORIES", lambda item: item.repositories),
        Column("TAGS", lambda item: item.tags),
        Column("MANIFESTS", lambda item: item.manifests),
        Column("SIZE", lambda item: output.size(item.size)),
        Column("QUOTA", lambda item: output.size(item.quota) if item.quota else None),
        Column("OWNER", lambda item: item.owner),
    ),
    name=lambda item: item.name,
)


def usage(
    name: Annotated[str | None, typer.Argument(help="Only this namespace or owner.")] = None,
    by: Annotated[UsageBy, typer.Option(help="What is summed up.")] = UsageBy.NAMESPACE,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """Show what namespaces or owners hold."""
    with client() as api:
        report = api.registry.usage(by, name=name or "", cursor=cursor, limit=limit)
    if style in (Format.JSON, Format.YAML):
        output.values(report, style)
        return
    output.listing(Page(items=report.items, next=report.next), USAGE, style)
    if style is not Format.NAME:
        output.note(_sum(report))


def _sum(report: UsageReport) -> str:
    if report.stored is None:
        return f"the repositories that you may pull hold {output.size(report.size)}"
    return (
        f"all repositories hold {output.size(report.size)}; "
        f"{output.size(report.stored)} lie in storage, shared layers once"
    )


@app.command("show")
def show(namespace: Namespace, style: Output = Format.TABLE) -> None:
    """Show a namespace's quota and who set it."""
    with client() as api:
        _show(api.registry.namespace(namespace), style)


@app.command("set")
def set_quota(
    namespace: Namespace,
    quota: Annotated[str, typer.Argument(help="For example 100GiB; none for no limit.")],
    owner: Annotated[str | None, typer.Option(help="Who answers for the namespace.")] = None,
    style: Output = Format.TABLE,
) -> None:
    """Set what a namespace may hold; it goes before the policy file."""
    given = {"quota": None if quota == NO_LIMIT else quota, "owner": owner or ""}
    with client() as api:
        _show(api.registry.set_namespace(namespace, parse(NamespaceSettings, given)), style)


@app.command()
def unset(namespace: Namespace, style: Output = Format.TABLE) -> None:
    """Let the policy file say again what a namespace may hold."""
    with client() as api:
        api.registry.unset_namespace(namespace)
        _show(api.registry.namespace(namespace), style)


def _show(found: NamespaceDocument, style: Format) -> None:
    rows = (
        ("namespace", found.name),
        ("holds", output.size(found.used)),
        ("may hold", "any amount" if found.quota is None else output.size(found.quota)),
        ("said by", found.set_by),
        ("owner", found.owner),
    )
    output.record(found, Card(found.name, rows), style)

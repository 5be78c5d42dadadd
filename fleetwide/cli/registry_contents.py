"""``fleetwide registry list|search|show|resolve``: what the registry hosts."""

from typing import Annotated

import typer

from fleetwide.cli import output, registry_tags
from fleetwide.cli.context import Cursor, Limit, Output, client
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.models.documents import Page
from fleetwide.models.registry_documents import (
    LayerDocument,
    ManifestDocument,
    PullerDocument,
    ReferenceAnswer,
    Repository,
)

REPOSITORIES = View[Repository](
    columns=(
        Column("REPOSITORY", lambda item: item.name),
        Column("TAGS", lambda item: item.tags),
        Column("MANIFESTS", lambda item: item.manifests),
        Column("SIZE", lambda item: output.size(item.size)),
        Column("OWNER", lambda item: item.owner),
        Column("CREATED", lambda item: item.created_at),
    ),
    name=lambda item: item.name,
)
LAYERS = (
    Column[LayerDocument]("LAYER", lambda item: output.short_digest(item.digest)),
    Column[LayerDocument]("SIZE", lambda item: output.size(item.size)),
    Column[LayerDocument]("IMAGES", lambda item: item.images),
    Column[LayerDocument]("REPOSITORIES", lambda item: item.repositories),
)
PULLERS = (
    Column[PullerDocument]("ACCOUNT", lambda item: item.name),
    Column[PullerDocument]("PULLS", lambda item: item.pulls),
    Column[PullerDocument]("LAST", lambda item: item.last_pulled_at),
)
ANSWERS = View[ReferenceAnswer](
    columns=(
        Column("REFERENCE", lambda item: item.reference),
        Column("DIGEST", lambda item: item.digest),
        Column("WHY NOT", lambda item: f"{item.code}: {item.detail}" if item.code else None),
    ),
    name=lambda item: item.pinned or "",
)


def list_repositories(
    limit: Limit = 50, cursor: Cursor = None, style: Output = Format.TABLE
) -> None:
    """List repositories."""
    with client() as api:
        output.listing(api.registry.repositories(cursor=cursor, limit=limit), REPOSITORIES, style)


def search(
    text: Annotated[str, typer.Argument(help="A part of a repository's name.")],
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """Look for repositories by a part of their names."""
    with client() as api:
        page = api.registry.search(text, cursor=cursor, limit=limit)
        while page.next and not page.items:  # it looks at so many names at a time
            page = api.registry.search(text, cursor=page.next, limit=limit)
        output.listing(page, REPOSITORIES, style)


def show(
    reference: Annotated[str, typer.Argument(help="apps/hello:1.0.0 or apps/hello@sha256:...")],
    style: Output = Format.TABLE,
) -> None:
    """Show an image: its layers and who shares them, its pulls, what needs it."""
    parsed = registry_tags.reference_of(reference)
    with client() as api:
        image = api.registry.image(parsed.repository, parsed.selector)
    rows = (
        ("image", f"{image.repository}@{image.digest}"),
        ("tags", ", ".join(image.tags)),
        ("type", image.artifact_type or image.media_type),
        ("state", None if image.state == "live" else image.state),
        ("size", f"{output.size(image.size)}, {output.size(image.shared)} shared with others"),
        ("pushed", f"{output.moment(image.pushed_at)} by {image.pushed_by or 'nobody known'}"),
        ("pulls", _pulls(image)),
        ("refers to", image.subject),
        ("referrers", image.referrers or None),
        ("needed by", ", ".join(image.in_use)),
    )
    sections = (
        Section("layers", output.table_lines(image.layers, LAYERS) if image.layers else []),
        Section("pulled by", _pulled_by(image)),
        Section("images", image.children),
        Section("annotations", [f"{key}: {value}" for key, value in image.annotations.items()]),
    )
    output.record(image, Card(f"{image.repository}@{image.digest}", rows, sections), style)


def _pulled_by(image: ManifestDocument) -> list[str]:
    return output.table_lines(image.pulled_by, PULLERS) if image.pulled_by else []


def _pulls(image: ManifestDocument) -> str:
    last = f", last {output.moment(image.last_pulled_at)}" if image.last_pulled_at else ""
    return f"{image.pulls}{last}"


def resolve(
    references: Annotated[list[str], typer.Argument(help="repository:tag; up to 500.")],
    style: Output = Format.TABLE,
) -> None:
    """Say which digests references mean now; exit code 1 when one has no answer."""
    with client() as api:
        answers = api.registry.resolve_all(references)
    found = [one for one in answers.items if style is not Format.NAME or one.pinned]
    output.listing(Page(items=found), ANSWERS, style)
    if any(one.code for one in answers.items):
        raise typer.Exit(Exit.FAILED)


# Below those above, as --help lists them: looking, changing, copies, then what serves.

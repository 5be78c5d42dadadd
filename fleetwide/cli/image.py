"""``fleetwide image``: baked images."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.models.documents import ImageDocument

app = noun("Baked images.")

IMAGES = View[ImageDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("VERSION", lambda item: item.version),
        Column("BASE", lambda item: f"{item.base_name}:{item.base_version}"),
        Column("DIGEST", lambda item: output.short_digest(item.digest)),
        Column("SIZE", lambda item: output.size(item.size)),
        Column("CREATED", lambda item: item.created_at),
        Column("REPOSITORY", lambda item: item.repository, wide=True),
        Column("BAKE KEY", lambda item: item.bake_key, wide=True),
        Column("OWNER", lambda item: item.owner, wide=True),
    ),
    name=lambda item: item.reference,
)


@app.command("list")
def list_images(
    name: Annotated[str | None, typer.Option(help="Only images of this name.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List images, newest first."""
    with client() as api:
        output.listing(api.bakery.images(name=name, cursor=cursor, limit=limit), IMAGES, style)


@app.command()
def show(
    name: Annotated[str, typer.Argument()],
    version: Annotated[str, typer.Argument(help="A version or a digest.")],
    style: Output = Format.TABLE,
) -> None:
    """Show one image."""
    with client() as api:
        show_image(api.bakery.image(name, version), style)


def show_image(image: ImageDocument, style: Format) -> None:
    rows = (
        ("image", f"{image.name} {image.version}"),
        ("reference", image.reference if image.digest else None),
        (
            "base",
            f"{image.base_name}:{image.base_version} {output.short_digest(image.base_digest)}",
        ),
        ("recipe", image.recipe or None),
        ("size", output.size(image.size)),
        ("built in", f"{image.build_seconds:.1f} s"),
        ("smoke test", image.smoke.how if image.smoke else None),
        ("rebase", "its layer fits other releases" if _moves(image) else None),
        ("bake key", image.bake_key),
        ("owner", image.owner),
        ("created", image.created_at),
        ("web ui", image.links.get("ui")),
    )
    findings = [f"{one.severity}: {one.where}: {one.message}" for one in image.findings]
    needs = [f"{one.kind} {one.name} {one.version}" for one in image.dependencies]
    regions = [f"{one.region} {one.state} {one.image_id}".rstrip() for one in image.regions]
    sections = (
        Section("dependencies", needs),
        Section("findings", findings),
        Section("regions", regions),
    )
    name = image.reference if image.digest else f"{image.name} {image.version}"
    output.record(image, Card(name, rows, sections), style)


def _moves(image: ImageDocument) -> bool:
    return image.built is not None and image.built.rebaseable

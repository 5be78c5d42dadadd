"""``fleetwide os``: operating system releases."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import (
    Cursor,
    File,
    Limit,
    Output,
    Reason,
    Wait,
    client,
    noun,
    reason_or_default,
)
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.problems import raise_failure
from fleetwide.cli.specs import merge, parse, read_spec
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.documents import Operation, ReleaseDocument
from fleetwide.models.os_releases import Channel

app = noun("Operating system releases (BaseOS).")

Line = Annotated[str, typer.Argument(help="The line of releases, for example baseos.")]
Pointer = Annotated[str, typer.Argument(help="A version, a channel or a digest.")]

RELEASES = View[ReleaseDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("VERSION", lambda item: item.version),
        Column("STATE", lambda item: item.state),
        Column("CHANNELS", lambda item: ",".join(item.channels)),
        Column("OS", lambda item: f"{item.distribution} {item.suite}"),
        Column("PACKAGES", lambda item: item.package_count),
        Column("DIGEST", lambda item: output.short_digest(item.image_digest)),
        Column("CREATED", lambda item: item.created_at),
        Column("ARCHITECTURE", lambda item: item.architecture, wide=True),
        Column("SIZE", lambda item: output.size(item.uncompressed_size), wide=True),
        Column("WORKFLOW", lambda item: item.workflow_id, wide=True),
    ),
    name=lambda item: f"{item.name}:{item.version}",
)


@app.command()
def build(  # noqa: PLR0913 - one parameter per option of the command line
    *,
    file: File = None,
    name: Annotated[str | None, typer.Option(help="The line of releases.")] = None,
    suite: Annotated[str | None, typer.Option(help="For example bookworm or noble.")] = None,
    distribution: Annotated[str | None, typer.Option(help="debian or ubuntu.")] = None,
    version: Annotated[str | None, typer.Option(help="Unset: day and number.")] = None,
    package: Annotated[list[str] | None, typer.Option(help="One more package; repeatable.")] = None,
    mirror: Annotated[str | None, typer.Option(help="Package mirror.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    wait: Wait = True,
    style: Output = Format.TABLE,
) -> None:
    """Build a release; it ends on the candidate channel."""
    flags = {
        "name": name,
        "suite": suite,
        "distribution": distribution,
        "version": version,
        "packages": package,
        "mirror": mirror,
        "owner": owner,
    }
    spec = parse(OSImageSpec, merge(read_spec(file), flags))
    with client() as api:
        operation = api.os.build(spec)
        release = None
        if wait:
            from fleetwide.cli.errands import wait_for_release  # noqa: PLC0415

            release, operation = wait_for_release(api, operation)
        raise_failure(operation)
    if release is None:
        show_operation(operation, style)
    else:
        show_release(release, style)


@app.command("list")
def list_releases(
    name: Annotated[str | None, typer.Option(help="Only this line.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List releases, newest first."""
    with client() as api:
        output.listing(api.os.list(name=name, cursor=cursor, limit=limit), RELEASES, style)


@app.command()
def show(name: Line, pointer: Pointer, style: Output = Format.TABLE) -> None:
    """Show one release."""
    with client() as api:
        show_release(api.os.get(name, pointer), style)


@app.command()
def promote(
    name: Line,
    pointer: Pointer = "candidate",
    channel: Annotated[Channel, typer.Option(help="The channel that shall point at it.")] = (
        Channel.STABLE
    ),
    style: Output = Format.TABLE,
) -> None:
    """Let a channel point at a release; without a version the candidate is taken."""
    with client() as api:
        show_release(api.os.promote(name, pointer, channel), style)


@app.command()
def cancel(
    name: Line,
    version: Annotated[str, typer.Argument()],
    reason: Reason = None,
    style: Output = Format.TABLE,
) -> None:
    """Stop a build, or withdraw a candidate."""
    with client() as api:
        show_operation(api.os.cancel(name, version, reason_or_default(reason)), style)


def show_release(release: ReleaseDocument, style: Format) -> None:
    rows = (
        ("release", f"{release.name} {release.version}"),
        ("state", release.state),
        ("channels", ", ".join(release.channels)),
        ("os", f"{release.distribution} {release.suite} {release.architecture}"),
        ("image", release.reference if release.image_digest else None),
        ("packages", release.package_count or None),
        ("size", output.size(release.uncompressed_size) if release.uncompressed_size else None),
        ("created", release.created_at),
        ("promoted", release.promoted_at),
        ("web ui", release.links.get("ui")),
    )
    output.record(release, Card(f"{release.name}:{release.version}", rows), style)


def show_operation(operation: Operation, style: Format) -> None:
    rows = (
        ("id", operation.id),
        ("workflow", operation.workflow_id),
        ("status", operation.status),
        ("web ui", operation.links.get("ui")),
    )
    output.record(operation, Card(operation.id, rows), style)

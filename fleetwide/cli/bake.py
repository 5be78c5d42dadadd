"""``fleetwide bake``: artifacts onto a base."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetwide.cli import output
from fleetwide.cli.artifact import send, type_of
from fleetwide.cli.baseos import show_operation
from fleetwide.cli.context import File, Output, Reason, Wait, client, noun, reason_or_default
from fleetwide.cli.image import list_images, show_image
from fleetwide.cli.output import Format
from fleetwide.cli.problems import raise_failure
from fleetwide.cli.specs import merge, pairs, parse, read_spec, words
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.documents import ImageDocument, Operation, OperationStatus

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Bakes: deployment artifacts onto an OS release (Bakery).")
app.command("list")(list_images)

# name-version-... of a wheel, name_version_... of a Debian package.
_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9.+~]+(?:[_-][A-Za-z][A-Za-z0-9.+~]*)*)[-_](?P<version>[0-9][^-_]*)[-_].*\.(whl|deb)"
)


@app.command()
def create(  # noqa: PLR0913 - one parameter per option of the command line
    artifacts: Annotated[
        list[Path] | None, typer.Argument(exists=True, dir_okay=False, help="Files to upload.")
    ] = None,
    *,
    file: File = None,
    name: Annotated[str | None, typer.Option(help="Unset: from the artifact's name.")] = None,
    version: Annotated[str | None, typer.Option(help="Unset: from the artifact's name.")] = None,
    base: Annotated[str | None, typer.Option(help="Line with channel, version or digest.")] = None,
    entrypoint: Annotated[str | None, typer.Option(help="As one shell line.")] = None,
    command: Annotated[str | None, typer.Option(help="As one shell line.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    port: Annotated[list[int] | None, typer.Option(help="A port it listens on.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    wait: Wait = True,
    style: Output = Format.TABLE,
) -> None:
    """Bake artifacts onto a base; the same bake again is answered with the first image."""
    flags: dict[str, Any] = {
        "name": name,
        "version": version,
        "base": base,
        "entrypoint": words(entrypoint, "--entrypoint"),
        "command": words(command, "--command"),
        "env": pairs(env, "--env"),
        "ports": port,
        "owner": owner,
    }
    content = merge({**_from_name(artifacts or []), **read_spec(file)}, flags)
    content.setdefault("base", "baseos:stable")
    with client() as api:
        if artifacts:
            content["artifacts"] = [_uploaded(api, path) for path in artifacts]
        operation = api.bakery.bake(parse(BakeSpec, content))
        if wait and operation.status is OperationStatus.RUNNING:
            from fleetwide.cli.errands import wait_for_bake  # noqa: PLC0415

            operation = wait_for_bake(api, operation.id)
    _show(operation, style)


def _from_name(artifacts: list[Path]) -> dict[str, str]:
    """Name and version as the first artifact's file name tells them."""
    match = _NAMED.fullmatch(artifacts[0].name) if artifacts else None
    if match is None:
        return {}
    return {"name": match["name"].lower().replace("_", "-"), "version": match["version"]}


def _uploaded(api: "Client", path: Path) -> dict[str, str]:
    kind = type_of(path)
    document = send(api, path)
    return {"type": kind, "sha256": document.sha256, "filename": document.filename}


@app.command()
def show(
    bake_key: Annotated[str, typer.Argument(help="The bake's key.")], style: Output = Format.TABLE
) -> None:
    """Show a bake: running, failed, or its image."""
    with client() as api:
        _show(api.bakery.get(bake_key), style)


@app.command()
def cancel(
    bake_key: Annotated[str, typer.Argument(help="The bake's key.")],
    reason: Reason = None,
    style: Output = Format.TABLE,
) -> None:
    """Stop a bake."""
    with client() as api:
        show_operation(api.bakery.cancel(bake_key, reason_or_default(reason)), style)


def _show(operation: Operation, style: Format) -> None:
    raise_failure(operation)
    if operation.result is None:
        show_operation(operation, style)
        return
    image = ImageDocument.model_validate({**operation.result, "links": operation.links})
    output.note(operation.summary)
    show_image(image, style)

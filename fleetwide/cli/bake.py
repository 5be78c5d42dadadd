"""``fleetwide bake``: artifacts onto a base."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetwide.cli import bake_lint, bake_runs, output
from fleetwide.cli.artifact import packed, send, type_of
from fleetwide.cli.baseos import show_operation
from fleetwide.cli.context import File, Output, Reason, Wait, client, noun, reason_or_default
from fleetwide.cli.image import show_image
from fleetwide.cli.output import Format
from fleetwide.cli.problems import raise_failure
from fleetwide.cli.specs import merge, pairs, parse, read_spec, words
from fleetwide.models.bakery import ArtifactType, BakeSpec
from fleetwide.models.baseos import Target
from fleetwide.models.documents import ImageDocument, Operation

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Bakes: deployment artifacts onto an OS release (Bakery).")
app.command("list")(bake_runs.list_bakes)
app.command("status")(bake_runs.status)
app.command("logs")(bake_runs.logs)
app.command("why")(bake_runs.why)
app.command("lint")(bake_lint.lint)
app.command("rules")(bake_lint.rules)

# name-version-... of a wheel, name_version_... of a Debian package.
_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9.+~]+(?:[_-][A-Za-z][A-Za-z0-9.+~]*)*)[-_](?P<version>[0-9][^-_]*)[-_].*\.(whl|deb)"
)


@app.command()
def create(  # noqa: PLR0913 - one parameter per option of the command line
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, help="Files to upload; a folder goes as a tarball."),
    ] = None,
    *,
    file: File = None,
    name: Annotated[str | None, typer.Option(help="Unset: from the artifact's name.")] = None,
    version: Annotated[str | None, typer.Option(help="Unset: from the artifact's name.")] = None,
    base: Annotated[str | None, typer.Option(help="Line with channel, version or digest.")] = None,
    kind: Annotated[
        ArtifactType | None, typer.Option("--type", help="Unset: by the files' endings.")
    ] = None,
    target: Annotated[list[Target] | None, typer.Option(help="Repeatable.")] = None,
    recipe: Annotated[str | None, typer.Option(help="NAME or NAME:VERSION.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the recipe.")] = None,
    package: Annotated[list[str] | None, typer.Option(help="A package beside it.")] = None,
    entrypoint: Annotated[str | None, typer.Option(help="As one shell line.")] = None,
    command: Annotated[str | None, typer.Option(help="As one shell line.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    port: Annotated[list[int] | None, typer.Option(help="A port it listens on.")] = None,
    health: Annotated[str | None, typer.Option(help="Health check as one shell line.")] = None,
    init: Annotated[bool, typer.Option("--init", help="An init as PID 1.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke/--no-smoke", help="Start it as a test.")] = True,
    label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    commit: Annotated[str | None, typer.Option(help="What the artifact was built from.")] = None,
    build_url: Annotated[str | None, typer.Option(help="The build's own page.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    rebake: Annotated[bool, typer.Option("--rebake", help="Even what was baked before.")] = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Stands for this request alone.")
    ] = None,
    wait: Wait = True,
    style: Output = Format.TABLE,
) -> None:
    """Bake artifacts onto a base; the same bake again is answered with the first image."""
    check = words(health, "--health")
    flags: dict[str, Any] = {
        "name": name,
        "version": version,
        "base": base,
        "targets": target,
        "recipe": recipe,
        "parameters": pairs(param, "--param"),
        "packages": package,
        "entrypoint": words(entrypoint, "--entrypoint"),
        "command": words(command, "--command"),
        "env": pairs(env, "--env"),
        "ports": port,
        "healthcheck": {"command": check} if check else None,
        "init": init or None,
        "smoke": None if smoke else {"enabled": False},
        "labels": pairs(label, "--label"),
        "build": {"commit": commit, "url": build_url},
        "owner": owner,
        "rebake": rebake or None,
    }
    content = merge({**_from_name(artifacts or []), **read_spec(file)}, flags)
    content.setdefault("base", "baseos:stable")
    with client() as api:
        if artifacts:
            content["artifacts"] = [_uploaded(api, path, kind) for path in artifacts]
        operation = api.bakery.bake(parse(BakeSpec, content), idempotency_key=key)
        if wait:
            from fleetwide.cli.errands import wait_for_bake  # noqa: PLC0415

            operation = wait_for_bake(api, operation)
    _show(operation, style)


def _from_name(artifacts: list[Path]) -> dict[str, str]:
    """Name and version as the first artifact's file name tells them."""
    match = _NAMED.fullmatch(artifacts[0].name) if artifacts else None
    if match is None:
        return {}
    return {"name": match["name"].lower().replace("_", "-"), "version": match["version"]}


def _uploaded(api: "Client", path: Path, kind: ArtifactType | None) -> dict[str, str]:
    with packed(path) as file:
        kind = kind or type_of(file)
        document = send(api, file)
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


@app.command()
def rebase(
    name: Annotated[str, typer.Argument(help="The image's name.")],
    version: Annotated[str, typer.Argument(help="A version or a digest.")],
    base: Annotated[str, typer.Option(help="The OS release to move to.")] = "baseos:stable",
    wait: Wait = True,
    style: Output = Format.TABLE,
) -> None:
    """Move an image to another OS release; rebuilt where its layer does not fit there."""
    with client() as api:
        operation = api.bakery.rebase(name, version, base)
        if wait:
            from fleetwide.cli.errands import wait_for_bake  # noqa: PLC0415

            operation = wait_for_bake(api, operation)
    _show(operation, style)


def _show(operation: Operation, style: Format) -> None:
    raise_failure(operation)
    if operation.result is None:
        show_operation(operation, style)
        return
    image = ImageDocument.model_validate({**operation.result, "links": operation.links})
    output.note(operation.summary)
    show_image(image, style)

"""``fleetwide os``: operating system releases."""

from typing import Annotated

import typer

from fleetwide.cli import baseos_lines, baseos_reports, output
from fleetwide.cli.baseos_cards import RELEASES, show_release
from fleetwide.cli.baseos_options import By, Line, Pointer, Why, person, stand
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
from fleetwide.cli.output import Card, Format
from fleetwide.cli.problems import raise_failure
from fleetwide.cli.specs import merge, parse, read_spec
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.documents import Operation
from fleetwide.models.os_releases import PromoteRequest

app = noun("Operating system releases (BaseOS).")


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
    force: Annotated[bool, typer.Option("--force", help="Build even if nothing changed.")] = False,
    wait: Wait = True,
    style: Output = Format.TABLE,
) -> None:
    """Build a release; it ends on the candidate channel.

    When nothing has changed since an earlier release, nothing is built and that one is shown.
    """
    flags = {
        "name": name,
        "suite": suite,
        "distribution": distribution,
        "version": version,
        "packages": package,
        "mirror": mirror,
        "owner": owner,
        "force": force or None,
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


@app.command()
def validate(file: File = None, style: Output = Format.YAML) -> None:
    """Check a spec without a platform; print it with all defaults."""
    # Imported here, so that --help and completion stay quick.
    from fleetwide.baseos.amis import check_ami_tags  # noqa: PLC0415
    from fleetwide.baseos.suites import check_suite  # noqa: PLC0415

    spec = parse(OSImageSpec, read_spec(file))
    check_suite(spec)
    check_ami_tags(spec.ami.tags if spec.ami else {})
    output.values(spec, style)


app.command("plan")(baseos_reports.plan)


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
    """Show every part of one release."""
    with client() as api:
        show_release(api.os.get(name, pointer), style)


@app.command()
def promote(  # noqa: PLR0913 - one parameter per option of the command line
    name: Line,
    pointer: Pointer = "candidate",
    *,
    expected: Annotated[
        str | None, typer.Option(help="Only if stable points at this version now.")
    ] = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Skip what is left of the soak.")
    ] = False,
    reason: Reason = None,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Make a release the stable one; unset means the candidate.

    To roll back: fleetwide os promote baseos previous --reason "breaks DNS"
    """
    request = PromoteRequest(
        expected=expected, emergency=emergency, reason=reason or "", by=person(by)
    )
    with client() as api:
        show_release(api.os.promote(name, pointer, request), style)


@app.command()
def hold(
    name: Line, pointer: Pointer, *, reason: Why, by: By = None, style: Output = Format.TABLE
) -> None:
    """Keep a release from promotion until unhold."""
    with client() as api:
        show_release(api.os.hold(name, pointer, stand(reason, by)), style)


@app.command()
def unhold(
    name: Line, pointer: Pointer, *, reason: Why, by: By = None, style: Output = Format.TABLE
) -> None:
    """Let a held release be promoted again."""
    with client() as api:
        show_release(api.os.unhold(name, pointer, stand(reason, by)), style)


@app.command()
def revoke(
    name: Line, pointer: Pointer, *, reason: Why, by: By = None, style: Output = Format.TABLE
) -> None:
    """Let nobody use a release any more.

    Its channels and its AMIs go, for good.
    """
    with client() as api:
        show_release(api.os.revoke(name, pointer, stand(reason, by)), style)


@app.command()
def retire(
    name: Line, pointer: Pointer, *, reason: Why, by: By = None, style: Output = Format.TABLE
) -> None:
    """Remove a release that nobody needs.

    Its AMIs and its stored disk go, for good.
    """
    with client() as api:
        show_release(api.os.retire(name, pointer, stand(reason, by)), style)


@app.command()
def cancel(
    name: Line, pointer: Pointer, reason: Reason = None, style: Output = Format.TABLE
) -> None:
    """Stop a build, or withdraw a candidate."""
    with client() as api:
        show_operation(api.os.cancel(name, pointer, reason_or_default(reason)), style)


app.command("diff")(baseos_reports.diff)
app.command("lock")(baseos_reports.lock)
app.command("fixes")(baseos_reports.fixes)
app.command("reproduce")(baseos_reports.reproduce)
app.command("console")(baseos_reports.console)
app.command("documents")(baseos_reports.documents)
app.command("channels")(baseos_lines.channels)
app.command("history")(baseos_lines.history)
app.add_typer(baseos_lines.schedule, name="schedule")
app.command("retain")(baseos_lines.retain)


def show_operation(operation: Operation, style: Format) -> None:
    rows = (
        ("id", operation.id),
        ("workflow", operation.workflow_id),
        ("status", operation.status),
        ("web ui", operation.links.get("ui")),
    )
    output.record(operation, Card(operation.id, rows), style)

"""``fleetwide service``: long-running containers, kept up, deployed, scaled and moved."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos import show_operation
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import Cursor, File, Limit, Output, client, noun
from fleetwide.cli.output import Format
from fleetwide.cli.service_endpoints import endpoints, targets
from fleetwide.cli.service_lines import ACTIVITY, COPIES, REVISIONS, SERVICES, show_service
from fleetwide.cli.service_moves import Version, attributes, move_task
from fleetwide.cli.service_scaling import scaling
from fleetwide.cli.specs import pairs, parse, read_spec
from fleetwide.cli.task_lists import LabelOption
from fleetwide.models.service_documents import NewService
from fleetwide.models.service_moves import (
    CopyTermination,
    DeployRequest,
    ServiceMove,
    ServiceProcesses,
    ServiceRollback,
    ServiceScale,
    ServiceSwitch,
)
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.revisions import plan_lines

app = noun("Services: long-running containers that are kept up.")
for command in (endpoints, targets, scaling, move_task, attributes):
    app.command()(command)

Name = Annotated[str, typer.Argument(help="The service's name.")]


@app.command()
def run(name: Name, *, file: File, style: Output = Format.TABLE) -> None:
    """Start a service from a file; it lives until it is deleted."""
    spec = parse(ContainerServiceSpec, read_spec(file))
    with client() as api:
        show_operation(api.services.create(NewService(name=name, spec=spec)), style)


@app.command("list")
def list_services(
    *,
    app_name: Annotated[str | None, typer.Option("--app", help="Only of this app.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    label: LabelOption = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List services: how many copies are ready, how far their deploys are."""
    labels = pairs(label, "--label")
    with client() as api:
        found = api.services.list(
            app=app_name, owner=owner, labels=labels, cursor=cursor, limit=limit
        )
        output.listing(found, SERVICES, style)


@app.command()
def show(name: Name, style: Output = Format.TABLE) -> None:
    """Show one service: its copies by revision, its deploy, what it waits for."""
    with client() as api:
        show_service(api.services.get(name), style)


@app.command()
def copies(
    name: Name,
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended too.")] = False,
    limit: Limit = 200,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List the copies of a service."""
    with client() as api:
        found = api.services.copies(name, ended=ended, cursor=cursor, limit=limit)
        output.listing(found, COPIES, style)


@app.command()
def revisions(
    name: Name, *, limit: Limit = 50, cursor: Cursor = None, style: Output = Format.TABLE
) -> None:
    """List the versions of a service's spec, with what became of each."""
    with client() as api:
        output.listing(api.services.revisions(name, cursor=cursor, limit=limit), REVISIONS, style)


@app.command()
def history(
    name: Name, *, limit: Limit = 50, cursor: Cursor = None, style: Output = Format.TABLE
) -> None:
    """List what was done to a service: what, by whom, why."""
    with client() as api:
        output.listing(api.services.activity(name, cursor=cursor, limit=limit), ACTIVITY, style)


@app.command()
def deploy(
    name: Name,
    *,
    file: File,
    version: Version = None,
    reason: Why = "a new version",
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Give a service a new version of its spec, from a file."""
    spec = parse(ContainerServiceSpec, read_spec(file))
    request = DeployRequest(spec=spec, by=person(by), reason=reason, expected_version=version)
    with client() as api:
        show_service(api.services.deploy(name, request), style)


@app.command()
def plan(name: Name, *, file: File, style: Output = Format.TABLE) -> None:
    """Tell what a deploy of a file would do, without doing anything."""
    spec = parse(ContainerServiceSpec, read_spec(file))
    with client() as api:
        found = api.services.plan(name, DeployRequest(spec=spec))
    if style is not Format.TABLE:
        output.values(found, style)
        return
    for line in plan_lines(found):
        output.data(line)


@app.command()
def scale(  # noqa: PLR0913 - one parameter per option of the command line
    name: Name,
    *,
    minimum: Annotated[int | None, typer.Option("--min", min=0, help="Never fewer.")] = None,
    desired: Annotated[int | None, typer.Option(min=0, help="So many now.")] = None,
    maximum: Annotated[int | None, typer.Option("--max", min=0, help="Never more.")] = None,
    version: Version = None,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Change how many copies there are; what is not given stays."""
    request = parse(
        ServiceScale,
        {
            "min": minimum,
            "desired": desired,
            "max": maximum,
            "by": person(by),
            "reason": reason,
            "expected_version": version,
        },
    )
    with client() as api:
        show_service(api.services.scale(name, request), style)


@app.command()
def enable(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let things scale the service by themselves."""
    _switch(name, _move(reason, by), style, enabled=True)


@app.command()
def disable(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let nothing scale the service by itself."""
    _switch(name, _move(reason, by), style, enabled=False)


def _switch(name: str, move: ServiceMove, style: Format, *, enabled: bool) -> None:
    request = ServiceSwitch(enabled=enabled, by=move.by, reason=move.reason)
    with client() as api:
        show_service(api.services.switch(name, request), style)


@app.command()
def processes(
    name: Name,
    *,
    increase: Annotated[bool | None, typer.Option(help="Whether desired may grow.")] = None,
    decrease: Annotated[bool | None, typer.Option(help="Whether desired may shrink.")] = None,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Say what nobody may do to the number of copies until it is allowed again."""
    request = ServiceProcesses(
        disable_increase_desired=None if increase is None else not increase,
        disable_decrease_desired=None if decrease is None else not decrease,
        by=person(by),
        reason=reason,
    )
    with client() as api:
        show_service(api.services.processes(name, request), style)


def _move(reason: str, by: str | None) -> ServiceMove:
    return ServiceMove(by=person(by), reason=reason)


@app.command()
def pause(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Hold the deploy: each version keeps its share of the copies."""
    with client() as api:
        show_service(api.services.pause(name, _move(reason, by)), style)


@app.command()
def resume(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let a paused deploy go on."""
    with client() as api:
        show_service(api.services.resume(name, _move(reason, by)), style)


@app.command()
def promote(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let the new version have everything: end a canary, or switch blue/green."""
    with client() as api:
        show_service(api.services.promote(name, _move(reason, by)), style)


@app.command()
def abort(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Give the deploy up where it stands."""
    with client() as api:
        show_service(api.services.abort(name, _move(reason, by)), style)


@app.command()
def rollback(
    name: Name,
    *,
    to: Annotated[int | None, typer.Option(min=1, help="Unset: the last good revision.")] = None,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Go back to an earlier revision."""
    request = ServiceRollback(revision=to, by=person(by), reason=reason)
    with client() as api:
        show_service(api.services.rollback(name, request), style)


@app.command()
def terminate(  # noqa: PLR0913 - one parameter per option of the command line
    name: Name,
    task: Annotated[str, typer.Argument(help="The copy's task.")],
    *,
    shrink: Annotated[bool, typer.Option("--shrink", help="Want one copy less.")] = False,
    keep_min: Annotated[
        bool, typer.Option("--keep-min", help="Refuse rather than lower min for that.")
    ] = False,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """End one copy; another takes its place, unless the service shrinks."""
    request = CopyTermination(
        task_id=task, shrink=shrink, prevent_min_update=keep_min, by=person(by), reason=reason
    )
    with client() as api:
        show_service(api.services.terminate_copy(name, request), style)


@app.command()
def delete(name: Name, *, reason: Why, by: By = None) -> None:
    """Stop all copies and end the service."""
    with client() as api:
        api.services.delete(name, _move(reason, by))
    output.note(f"service {name} is being deleted")

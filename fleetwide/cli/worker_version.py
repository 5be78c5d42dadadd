"""``fleetwide worker-version``: builds of the control workers."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import merge, parse
from fleetwide.models.worker_versions import Promotion, VersionMove, WorkerVersion, WorkerVersions

app = noun("Builds of the control workers: which get runs, which may be stopped.")


def _state(item: WorkerVersion) -> str:
    """``ramping, 10 percent``."""
    if item.ramp_percent is None:
        return item.state
    return f"{item.state}, {item.ramp_percent:g} percent"


VERSIONS = View[WorkerVersion](
    columns=(
        Column("BUILD", lambda item: item.build_id),
        Column("STATE", _state),
        Column("RUNNING", lambda item: item.running),
        Column("PINNED", lambda item: item.pinned),
        Column("FAILING", lambda item: item.failing or None),
        Column("POLLERS", lambda item: item.pollers),
        Column("WARNING", lambda item: item.warning or None),
        Column("SINCE", lambda item: item.since, wide=True),
        Column("LAST CURRENT", lambda item: item.last_current_at, wide=True),
    ),
    name=lambda item: item.build_id,
)

Build = Annotated[
    str, typer.Argument(help="The build id; unversioned: the workers that have none.")
]


@app.command("list")
def list_versions(style: Output = Format.TABLE) -> None:
    """List the builds: what each gets to do, what runs on it, how many workers poll for it."""
    with client() as api:
        _list(api.worker_versions.list(), style)


@app.command()
def show(build_id: Build, style: Output = Format.TABLE) -> None:
    """Show one build: whether it may be stopped, and what is wrong."""
    with client() as api:
        found = api.worker_versions.get(build_id)
    output.record(found, _card(found), style)


@app.command()
def promote(
    build_id: Build,
    *,
    ramp: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="Only so much of new runs and those not pinned."),
    ] = None,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Give a build all new runs, and all that are not pinned to another one."""
    told = {"by": person(by), "reason": reason}
    wanted = parse(Promotion, merge(told, {"percent": ramp}))
    with client() as api:
        _list(api.worker_versions.promote(build_id, wanted), style)


@app.command()
def rollback(*, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """End the ramp; where there is none, go back to the build that was current before."""
    move = parse(VersionMove, {"by": person(by), "reason": reason})
    with client() as api:
        _list(api.worker_versions.rollback(move), style)


@app.command()
def delete(build_id: Build, *, reason: Why, by: By = None) -> None:
    """Forget a build that is drained and that no worker polls for."""
    with client() as api:
        api.worker_versions.delete(build_id, by=person(by), reason=reason)
    output.note(f"deleted {build_id}")


def _list(found: WorkerVersions, style: Format) -> None:
    output.listing(found, VERSIONS, style)


def _card(found: WorkerVersion) -> Card:
    return Card(
        name=found.build_id,
        rows=(
            ("build", found.build_id),
            ("state", _state(found)),
            ("since", found.since),
            ("last current", found.last_current_at),
            ("running", found.running),
            ("pinned", found.pinned),
            ("failing", found.failing),
            ("pollers", found.pollers),
            ("warning", found.warning or None),
        ),
    )

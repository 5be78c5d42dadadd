"""``fleetwide pool``: machines that come and go with the work."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos import show_operation
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import File, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.cli.specs import parse, read_spec
from fleetwide.models.pool_documents import PoolDocument, PoolMachineDocument
from fleetwide.models.pools import HostPoolSpec, PoolMove, PoolScale

app = noun("Host pools: machines that come and go with the work.")


def _state(item: PoolMachineDocument) -> str | None:
    if item.ended_at is not None:
        return None
    if item.host_state is None:
        return "starting"
    return f"{item.host_state}, draining" if item.draining else item.host_state


POOLS = View[PoolDocument](
    columns=(
        Column("POOL", lambda item: item.name),
        Column("STATE", lambda item: item.state),
        Column("PROVIDER", lambda item: item.spec.provider),
        Column("DESIRED", lambda item: item.spec.desired),
        Column("MIN", lambda item: item.spec.min),
        Column("MAX", lambda item: item.spec.max),
        Column("JOINED", lambda item: item.joined),
        Column("STARTING", lambda item: item.starting),
        Column("DRAINING", lambda item: item.draining),
        Column("MESSAGE", lambda item: item.message or None),
        Column("IMAGE", lambda item: item.image or None, wide=True),
    ),
    name=lambda item: item.name,
)
MACHINES = (
    Column[PoolMachineDocument]("MACHINE", lambda item: item.machine_id),
    Column[PoolMachineDocument]("TYPE", lambda item: item.type),
    Column[PoolMachineDocument]("ZONE", lambda item: item.zone or None),
    Column[PoolMachineDocument]("HOST", _state),
    Column[PoolMachineDocument]("STARTED", lambda item: item.launched_at),
    Column[PoolMachineDocument]("ENDED", lambda item: item.ended_at),
    Column[PoolMachineDocument]("WHY", lambda item: item.end),
    Column[PoolMachineDocument]("REPLACED AS", lambda item: item.rotates or None),
)

Name = Annotated[str, typer.Argument(help="The pool's name.")]


@app.command()
def create(*, file: File, style: Output = Format.TABLE) -> None:
    """Start a pool from a file; it lives until it is deleted."""
    spec = parse(HostPoolSpec, read_spec(file))
    with client() as api:
        show_operation(api.pools.create(spec), style)


@app.command("list")
def list_pools(style: Output = Format.TABLE) -> None:
    """List pools: what is desired of each, and what is there."""
    with client() as api:
        output.listing(api.pools.list(), POOLS, style)


@app.command()
def show(name: Name, style: Output = Format.TABLE) -> None:
    """Show one pool and its machines, with the last ones that ended."""
    with client() as api:
        _show(api.pools.get(name), style)


@app.command()
def scale(
    name: Name,
    *,
    minimum: Annotated[int | None, typer.Option("--min", min=0, help="Never fewer.")] = None,
    desired: Annotated[int | None, typer.Option(min=0, help="So many now.")] = None,
    maximum: Annotated[int | None, typer.Option("--max", min=0, help="Never more.")] = None,
    reason: Why,
    style: Output = Format.TABLE,
) -> None:
    """Change how many machines there are; what is not given stays."""
    change = PoolScale(min=minimum, desired=desired, max=maximum, by=person(None), reason=reason)
    with client() as api:
        _show(api.pools.scale(name, change), style)


@app.command()
def refresh(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Replace machines of older images, one after the other, each emptied first."""
    with client() as api:
        _show(api.pools.refresh(name, PoolMove(by=person(by), reason=reason)), style)


@app.command()
def delete(name: Name, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Empty its hosts, end its machines and end the pool."""
    with client() as api:
        show_operation(api.pools.delete(name, PoolMove(by=person(by), reason=reason)), style)


def _show(pool: PoolDocument, style: Format) -> None:
    spec = pool.spec
    rows = (
        ("pool", pool.name),
        ("state", pool.state),
        ("message", pool.message or None),
        ("provider", spec.provider),
        ("machines", f"{spec.desired} desired, {spec.min} to {spec.max}"),
        ("there", f"{pool.joined} joined, {pool.starting} starting, {pool.draining} draining"),
        ("types", ", ".join(one.name for one in spec.types)),
        ("image", pool.image or None),
        ("scales", "with waiting work" if spec.scale else "by hand alone"),
        ("rotates", _rule(spec)),
        ("to replace", pool.rotation.sentence if pool.rotation else None),
        ("quiet since", pool.quiet_since),
        ("created", pool.created_at),
    )
    section = Section("machines", output.table_lines(pool.machines, MACHINES))
    output.record(pool, Card(pool.name, rows, [section] if pool.machines else ()), style)


def _rule(spec: HostPoolSpec) -> str:
    """When the pool replaces machines by itself, in one line."""
    rule = spec.rotation
    if rule is None:
        return "by hand alone"
    older = f"older than {rule.max_age_seconds} s" if rule.max_age_seconds else ""
    what = " or ".join(one for one in (older, "of an older image" * rule.old_images) if one)
    return f"what is {what}, {rule.max_rotating} at a time"

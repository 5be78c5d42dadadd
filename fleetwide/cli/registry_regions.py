"""``fleetwide registry replicate|replicas|preheat``: images in other regions and on hosts."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.models.documents import Operation, OperationStatus
from fleetwide.models.registry_preheat import PreheatOutcome, PreheatSpec
from fleetwide.models.registry_regions import ReplicaDocument, ReplicaRequest

Reference = Annotated[str, typer.Argument(help="repository:tag or repository@digest.")]
Seconds = Annotated[float, typer.Option("--wait", min=0, max=300, help="Seconds to wait.")]

REPLICAS = View[ReplicaDocument](
    columns=(
        Column("REGION", lambda item: item.region),
        Column("STATE", lambda item: item.state),
        Column("UPDATED", lambda item: item.updated_at),
        Column("CHECKED", lambda item: "yes" if item.checked else "no"),
        Column("MESSAGE", lambda item: item.message),
        Column("DIGEST", lambda item: item.digest, wide=True),
    ),
    name=lambda item: item.region,
)
OPERATIONS = View[Operation](
    columns=(
        Column("OPERATION", lambda item: item.id),
        Column("STATUS", lambda item: item.status),
    ),
    name=lambda item: item.id,
)


def replicate(
    reference: Reference,
    region: Annotated[
        list[str] | None, typer.Option(help="Where to; unset: where the rules say.")
    ] = None,
    wait: Seconds = 60.0,
    style: Output = Format.TABLE,
) -> None:
    """Copy an image to other regions now."""
    with client() as api:
        request = ReplicaRequest(reference=reference, regions=region or [])
        found = api.regions.replicate(request, wait=wait)
    output.listing(found, OPERATIONS, style)
    if any(one.status not in _FINE for one in found.items):
        raise typer.Exit(Exit.FAILED)


_FINE = (OperationStatus.COMPLETED, OperationStatus.RUNNING)


def replicas(
    reference: Reference,
    region: Annotated[str | None, typer.Option(help="One region alone.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask the regions themselves.")] = False,
    style: Output = Format.TABLE,
) -> None:
    """Say in which regions an image lies."""
    with client() as api:
        output.listing(api.regions.replicas(reference, region=region, check=check), REPLICAS, style)


def preheat(
    reference: Reference,
    host: Annotated[list[str] | None, typer.Option(help="Hosts; unset: all that fit.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only hosts with name=value.")] = None,
    fraction: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of them.")] = 1.0,
    wait: Seconds = 60.0,
    style: Output = Format.TABLE,
) -> None:
    """Have an image on hosts before a job needs it there."""
    labels = {name: value for name, _, value in (one.partition("=") for one in label or ())}
    spec = PreheatSpec(reference=reference, hosts=host or [], labels=labels, fraction=fraction)
    with client() as api:
        done = api.regions.preheat(spec, wait=wait)
    outcome = PreheatOutcome.model_validate(done.result) if done.result else None
    rows = [("operation", done.id), ("status", done.status)]
    if outcome is not None:
        rows += [
            ("warm hosts", f"{outcome.done} of {outcome.hosts}"),
            ("from the registry", output.size(outcome.bytes_registry)),
            ("from other hosts", output.size(outcome.bytes_peers)),
            *((f"failed {host_id}", why) for host_id, why in outcome.failed.items()),
        ]
    output.record(done, Card(done.id, tuple(rows)), style)
    if done.status not in _FINE or (outcome is not None and outcome.lost):
        raise typer.Exit(Exit.FAILED)

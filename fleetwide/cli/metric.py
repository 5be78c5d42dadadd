"""``fleetwide metric``: figures that services are scaled by."""

import os
import socket
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import parse
from fleetwide.models.metrics import MetricBatch, MetricDocument

app = noun("Metrics of services: what automatic scaling goes by.")

METRICS = View[MetricDocument](
    columns=(
        Column("METRIC", lambda item: item.name),
        Column("TASK", lambda item: item.task),
        Column("VALUE", lambda item: f"{item.value:g}"),
        Column("AT", lambda item: item.at),
        Column("SOURCE", lambda item: item.source),
    ),
    name=lambda item: item.name,
)

Service = Annotated[str, typer.Argument(help="The service's id.")]
Task = Annotated[str | None, typer.Option(help="One of its copies; unset, the whole service.")]


@app.command()
def push(
    service: Service,
    name: Annotated[str, typer.Argument(help="The metric, such as queueDepth.")],
    value: Annotated[float, typer.Argument(help="What it is now.")],
    *,
    task: Task = None,
    source: Annotated[
        str | None, typer.Option(help="Who tells; unset, who and where you are.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Tell one figure of a service or of one of its copies."""
    sample = {"service": service, "task": task, "name": name, "value": value}
    batch = parse(MetricBatch, {"source": source or _here(), "samples": [sample]})
    with client() as api:
        taken = api.metrics.push(batch)
    output.record(taken, Card(name, (("taken", taken.taken), ("known", taken.known))), style)


@app.command("list")
def list_metrics(
    service: Service,
    *,
    name: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    task: Task = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="So many.")] = 20,
    style: Output = Format.TABLE,
) -> None:
    """List the newest samples of a service, the newest first."""
    with client() as api:
        found = api.metrics.list(service, name=name, task=task, limit=limit)
    output.listing(found, METRICS, style)


def _here() -> str:
    return f"{os.environ.get('USER', 'somebody')}@{socket.gethostname()}"

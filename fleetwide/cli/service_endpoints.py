"""``fleetwide service endpoints`` and ``targets``: where the copies of a service are reached."""

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client
from fleetwide.cli.output import Column, Format, View
from fleetwide.models.discovery import Endpoint, Endpoints, RegistrationDocument
from fleetwide.models.documents import Page

ENDPOINTS = View[Endpoint](
    columns=(
        Column("INDEX", lambda item: item.index),
        Column("ADDRESS", lambda item: item.address),
        Column("PORTS", lambda item: _ports(item) or None),
        Column("REVISION", lambda item: item.revision),
        Column("ZONE", lambda item: item.zone or None),
        Column("TASK", lambda item: item.task_id),
        Column("HOST", lambda item: item.host_id, wide=True),
    ),
    name=lambda item: item.task_id,
)
TARGETS = View[RegistrationDocument](
    columns=(
        Column("TASK", lambda item: item.task_id),
        Column("TARGET", lambda item: f"{item.provider} {item.place}"),
        Column("STATE", lambda item: item.state),
        Column("SINCE", lambda item: item.since),
        Column("ADDRESS", lambda item: f"{item.address} {item.port}"),
        Column("TRIES", lambda item: item.tries or None),
        Column("MESSAGE", lambda item: item.message or None),
    ),
    name=lambda item: item.task_id,
)

ServiceId = Annotated[str, typer.Argument(help="The service's id.")]


def endpoints(
    service_id: ServiceId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they change.")] = False,
    style: Output = Format.TABLE,
) -> None:
    """Print where the healthy copies of a service are reached."""
    with client() as api:
        if not follow:
            found = api.discovery.endpoints(service_id)
            if style in (Format.JSON, Format.YAML):
                output.values(found, style)
            else:
                output.listing(Page(items=found.endpoints), ENDPOINTS, style)
            return
        before = dict[str, Endpoint]()
        for found in api.discovery.follow(service_id):
            for line in _news(before, found, style):
                output.data(line)
            before = {one.task_id: one for one in found.endpoints}


def targets(service_id: ServiceId, *, style: Output = Format.TABLE) -> None:
    """Print how the copies of a service stand at its load balancers."""
    with client() as api:
        output.listing(api.discovery.targets(service_id), TARGETS, style)


def _news(before: dict[str, Endpoint], found: Endpoints, style: Format) -> Iterator[str]:
    """The whole document on a line for programs; for people who came and who went."""
    if style is Format.JSON:
        yield json.dumps(found.model_dump(mode="json"), ensure_ascii=False)
        return
    now = {one.task_id: one for one in found.endpoints}
    for task_id in sorted(before.keys() - now.keys()):
        yield f"- {_line(before[task_id])}"
    for task_id, one in now.items():
        if before.get(task_id) != one:
            yield f"+ {_line(one)}"


def _line(one: Endpoint) -> str:
    return f"{one.index}  {one.address}  {_ports(one)}  revision {one.revision}  {one.task_id}"


def _ports(one: Endpoint) -> str:
    return " ".join(f"{name}={number}" for name, number in one.ports.items())

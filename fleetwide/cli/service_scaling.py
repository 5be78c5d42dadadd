"""``fleetwide service scaling``: what automatic scaling did, and why it does nothing now."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client
from fleetwide.cli.output import Card, Column, Format, Section
from fleetwide.models.scaling import LastAction, PolicyVerdict, ScalingStatus

POLICIES = (
    Column[PolicyVerdict]("POLICY", lambda item: item.policy),
    Column[PolicyVerdict]("WANTS", lambda item: item.wants),
    Column[PolicyVerdict]("HOLDS", lambda item: item.code),
    Column[PolicyVerdict]("WHY", lambda item: item.sentence),
)
ACTIONS = (
    Column[LastAction]("AT", lambda item: item.at),
    Column[LastAction]("BY", lambda item: item.policy or "somebody"),
    Column[LastAction]("FROM", lambda item: item.before),
    Column[LastAction]("TO", lambda item: item.after),
)

ServiceId = Annotated[str, typer.Argument(help="The service's id.")]


def scaling(service_id: ServiceId, *, style: Output = Format.TABLE) -> None:
    """Show what each scaling policy of a service says, and the last changes that it made."""
    with client() as api:
        found = api.metrics.scaling(service_id)
    output.record(found, _card(found), style)


def _card(found: ScalingStatus) -> Card:
    rows = (
        ("service", found.service_id),
        ("copies", f"{found.desired} desired, {found.min} to {found.max}"),
        ("decided", found.at),
        ("holds", found.code),
        ("why", found.sentence),
    )
    sections = [
        Section("policies", output.table_lines(found.policies, POLICIES)),
        Section("last changes", output.table_lines(found.last_actions, ACTIONS)),
    ]
    return Card(found.service_id, rows, sections if found.policies else ())

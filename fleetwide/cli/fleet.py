"""``fleetwide fleet``: the fleet as a whole."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, person
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Card, Column, Format, Section
from fleetwide.models.defragmentation_documents import (
    DefragmentationDocument,
    KeptHost,
    PlannedMove,
)
from fleetwide.models.host_moves import HostMove

app = noun("The fleet as a whole: how densely it is packed.")

MOVES = (
    Column[PlannedMove]("WHAT", lambda item: item.workflow_id),
    Column[PlannedMove]("INDEX", lambda item: item.index or None),
    Column[PlannedMove]("TO HOST", lambda item: item.host_id),
)
KEPT = (
    Column[KeptHost]("HOST", lambda item: item.host_id),
    Column[KeptHost]("WHY IT STAYS", lambda item: item.sentence),
)


@app.callback()
def fleet() -> None:
    """The fleet as a whole: how densely it is packed."""


@app.command()
def defragment(
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show what would be done, and what stays.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the host.")] = "by hand",
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Empty the next host whose tasks have room on others, within their disruption budgets."""
    with client() as api:
        if plan:
            found = api.fleet.defragmentation()
        else:
            found = api.fleet.defragment(HostMove(by=person(by), reason=reason))
        _show(found, style)


def _show(found: DefragmentationDocument, style: Format) -> None:
    rows = (
        ("round", found.sentence),
        ("begins", "by itself" if found.enabled else "by hand alone"),
        ("under way", found.under_way or None),
        ("since", found.since),
        ("next host", found.host_id),
        ("room for", found.room_for or None),
        ("hosts", f"{found.used} of {found.hosts} are used"),
    )
    parts = [Section("moves", output.table_lines(found.moves, MOVES))] if found.moves else []
    if found.kept:
        parts.append(Section("hosts that stay", output.table_lines(found.kept, KEPT)))
    output.record(found, Card("defragmentation", rows, parts), style)

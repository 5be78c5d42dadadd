"""``fleetwide bake list|status|logs|why``: runs of bakes, and what they are about."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, Limit, Output, client, going_on
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.models.bakes import ENDED, BakeState
from fleetwide.models.documents import BakeDocument, BakeLogEnd, InputChange

BakeKey = Annotated[str, typer.Argument(help="The bake's key.")]
MAX_SHOWN = 100


def _seconds(item: BakeDocument) -> str:
    end = item.finished_at or datetime.now(UTC)
    return f"{(end - item.created_at).total_seconds():.1f}"


BAKES = View[BakeDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("VERSION", lambda item: item.version),
        Column("STATE", lambda item: item.state),
        Column("BASE", lambda item: item.base.partition("@")[0]),
        Column("REASON", lambda item: item.failure.reason if item.failure else None),
        Column("SECONDS", _seconds),
        Column("CREATED", lambda item: item.created_at),
        Column("BAKE KEY", lambda item: item.bake_key, wide=True),
        Column("OWNER", lambda item: item.owner, wide=True),
    ),
    name=lambda item: item.bake_key,
)


def list_bakes(
    name: Annotated[str | None, typer.Option(help="Only bakes of this application.")] = None,
    state: Annotated[BakeState | None, typer.Option(help="Only bakes in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List runs of bakes, newest first."""
    with client() as api:
        found = api.bakery.bakes(name=name, state=state, cursor=cursor, limit=limit)
        output.listing(found, BAKES, style)


def status(bake_key: BakeKey, style: Output = Format.TABLE) -> None:
    """Show the stages of a bake with their times, and why it failed."""
    with client() as api:
        item = api.bakery.status(bake_key)
    failure = item.failure
    rows = (
        ("bake", f"{item.name} {item.version}"),
        ("state", item.state),
        ("base", item.base),
        ("reason", f"{failure.reason} while {failure.stage}" if failure else None),
        ("message", failure.message if failure else None),
        ("hint", (failure.hint or None) if failure else None),
        ("seconds", _seconds(item)),
        ("bake key", item.bake_key),
        ("web ui", item.links.get("ui")),
    )
    stages = [_stage_line(stage.stage, stage.started_at, stage.ended_at) for stage in item.stages]
    card = Card(f"{item.name} {item.version}", rows, [Section("stages", stages)])
    output.record(item, card, style)


def _stage_line(stage: BakeState, started: datetime, ended: datetime | None) -> str:
    if stage in ENDED:
        return f"{started:%H:%M:%S}  {stage}"
    seconds = ((ended or datetime.now(UTC)) - started).total_seconds()
    return f"{started:%H:%M:%S}  {stage} for {seconds:.1f} s"


def logs(
    bake_key: BakeKey,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it comes.")] = False,
) -> None:
    """Print the log of a bake."""
    with client() as api:
        if not follow:
            output.data(api.bakery.logs(bake_key), end="")
            return
        end: BakeLogEnd | None = None
        with going_on(f"fleetwide bake logs -f {bake_key}"):
            for item in api.bakery.follow_logs(bake_key):
                if isinstance(item, BakeLogEnd):
                    end = item
                else:
                    output.data(item.text, end="")
    if end is not None and end.state in (BakeState.FAILED, BakeState.CANCELLED):
        output.failure(f"the bake is {end.state}: {end.message}", f"fleetwide bake show {bake_key}")
        raise typer.Exit(Exit.FAILED)


def why(bake_key: BakeKey, style: Output = Format.TABLE) -> None:
    """Show which inputs differ from the application's bake before."""
    with client() as api:
        found = api.bakery.why(bake_key)
    before = found.before or "nothing: it is the application's first bake"
    lines = [_change_line(change) for change in found.changes]
    rows = (("bake key", found.bake_key), ("compared with", before))
    output.record(found, Card(found.bake_key, rows, [Section("changes", lines)]), style)


def _change_line(change: InputChange) -> str:
    return f"{change.input}: {_shown(change.before)} -> {_shown(change.after)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."

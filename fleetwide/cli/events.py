"""``fleetwide events``: everything that happened."""

import json
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client
from fleetwide.cli.output import Column, Format, View
from fleetwide.models.documents import EventDocument

EVENTS = View[EventDocument](
    columns=(
        Column("SEQ", lambda item: item.seq),
        Column("AT", lambda item: item.at),
        Column("SUBJECT", lambda item: item.subject),
        Column("KIND", lambda item: item.kind),
        Column("MESSAGE", lambda item: item.message),
    ),
    name=lambda item: str(item.seq),
)


def events(
    subject: Annotated[str | None, typer.Argument(help="A workflow id or host/<id>.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    cursor: Annotated[int, typer.Option(min=0, help="Only after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Items per page.")] = 200,
    style: Output = Format.TABLE,
) -> None:
    """Print what happened, oldest first."""
    with client() as api:
        if not follow:
            page = api.events(cursor, subject=subject, limit=limit)
            if len(page.items) < limit and style in (Format.TABLE, Format.WIDE):
                # The API's cursor is where later events go on; there are none yet.
                page = page.model_copy(update={"next": None})
            output.listing(page, EVENTS, style)
            return
        for event in api.follow_events(cursor, subject=subject):
            output.data(_line(event, style))


def _line(event: EventDocument, style: Format) -> str:
    if style is Format.JSON:
        return json.dumps(event.model_dump(mode="json"), ensure_ascii=False)
    return f"{output.moment(event.at)}  {event.subject}  {event.kind}  {event.message}"

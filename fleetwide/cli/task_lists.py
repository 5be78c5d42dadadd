"""``fleetwide task list`` and ``fleetwide task events``: which tasks there are, what happens."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, Limit, Output, client
from fleetwide.cli.output import Column, Format, View
from fleetwide.cli.specs import pairs
from fleetwide.client.task_queries import TaskQuery
from fleetwide.models.documents import StreamCursor, TaskChange, TaskDocument
from fleetwide.models.task_states import EndReason, TaskState

GroupOption = Annotated[
    str | None, typer.Option("--capacity-group", help="The part of the fleet that it counts to.")
]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", help="0 to 100; in its group the higher goes first.")
]
LabelOption = Annotated[list[str] | None, typer.Option("--label", help="NAME=VALUE; repeatable.")]
AppOption = Annotated[str | None, typer.Option("--app", help="Only of this app.")]
OwnerOption = Annotated[str | None, typer.Option(help="Only of this owner.")]
StateOption = Annotated[
    list[TaskState] | None, typer.Option(help="Only in this state; repeatable.")
]
ReasonOption = Annotated[
    list[EndReason] | None, typer.Option("--reason", help="Only ended for this; repeatable.")
]
ServiceOption = Annotated[str | None, typer.Option("--service", help="Only its copies.")]
HostOption = Annotated[str | None, typer.Option(help="Only on this host.")]
ImageOption = Annotated[str | None, typer.Option(help="Only of this image, by its digest.")]
Moment = Annotated[datetime | None, typer.Option(help="For example 2026-11-30T16:00; UTC.")]

TASKS = View[TaskDocument](
    columns=(
        Column("ID", lambda item: item.id),
        Column("APP", lambda item: item.app),
        Column("STATE", lambda item: item.state),
        Column("REASON", lambda item: item.reason),
        Column("EXIT", lambda item: item.exit_code),
        Column("HOST", lambda item: item.host_id),
        Column("CREATED", lambda item: item.created_at),
        Column("FINISHED", lambda item: item.finished_at, wide=True),
        Column("SERVICE", lambda item: item.service_id, wide=True),
        Column("OWNER", lambda item: item.owner, wide=True),
        Column("IMAGE", lambda item: item.image, wide=True),
    ),
    name=lambda item: item.id,
)


def label_text(labels: Mapping[str, str]) -> str:
    """Labels in one line."""
    return " ".join(f"{name}={value}" for name, value in labels.items())


def list_tasks(  # noqa: PLR0913 - one parameter per option of the command line
    *,
    app_name: AppOption = None,
    owner: OwnerOption = None,
    state: StateOption = None,
    reason: ReasonOption = None,
    host: HostOption = None,
    service: ServiceOption = None,
    image: ImageOption = None,
    label: LabelOption = None,
    submitted_after: Moment = None,
    submitted_before: Moment = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List tasks, newest first, those in the archive too."""
    wanted = TaskQuery(
        app=app_name,
        owner=owner,
        states=state or (),
        reasons=reason or (),
        host=host,
        service=service,
        image=image,
        labels=pairs(label, "--label"),
        submitted_after=submitted_after,
        submitted_before=submitted_before,
    )
    with client() as api:
        output.listing(api.tasks.list(wanted, cursor=cursor, limit=limit), TASKS, style)


def events(  # noqa: PLR0913 - one parameter per option of the command line
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    app_name: AppOption = None,
    owner: OwnerOption = None,
    state: StateOption = None,
    host: HostOption = None,
    service: ServiceOption = None,
    image: ImageOption = None,
    label: LabelOption = None,
    cursor: Annotated[
        int | None, typer.Option(min=0, help="No snapshot: the changes behind this number.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Print the tasks that live now; with --follow each change of theirs, and of new ones."""
    wanted = TaskQuery(
        app=app_name,
        owner=owner,
        states=state or (),
        host=host,
        service=service,
        image=image,
        labels=pairs(label, "--label"),
    )
    with client() as api:
        for item in api.tasks.follow(wanted, cursor=cursor):
            if not isinstance(item, StreamCursor):
                output.data(_line(item, style))
            elif not follow:
                output.note(f"cursor {item.seq}")
                return


def _line(item: TaskDocument | TaskChange, style: Format) -> str:
    if style is Format.JSON:
        return json.dumps(item.model_dump(mode="json"), ensure_ascii=False)
    if isinstance(item, TaskChange):
        return f"{output.moment(item.at)}  {item.task_id}  {item.message}"
    where = f" on {item.host_id}" if item.host_id else ""
    return f"{output.moment(item.created_at)}  {item.id}  {item.state}{where}"

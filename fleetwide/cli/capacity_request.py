"""``fleetwide capacity-request``: more for a queue, decided by somebody else than who asks."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.capacity_group import amount_words
from fleetwide.cli.context import Cursor, File, Limit, Output, client, noun, until
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import merge, pairs, parse, read_spec
from fleetwide.errors import NotFound
from fleetwide.models.capacity_requests import (
    CapacityDecision,
    CapacityRequestDocument,
    CapacityRequestSpec,
    RequestState,
)

app = noun("Requests for more capacity of a queue, decided by somebody else.")

REQUESTS = View[CapacityRequestDocument](
    columns=(
        Column("REQUEST", lambda item: item.id),
        Column("STATE", lambda item: item.state),
        Column("QUEUE", lambda item: item.spec.queue),
        Column("GUARANTEE", lambda item: amount_words(item.spec.guarantee)),
        Column("LIMIT", lambda item: amount_words(item.spec.limit), wide=True),
        Column("FROM", lambda item: item.spec.from_queue),
        Column("UNTIL", lambda item: item.spec.until),
        Column("BY", lambda item: item.spec.by),
        Column("DECIDED BY", lambda item: item.decided_by or None),
        Column("WAITS", lambda item: item.waiting and item.waiting.code),
    ),
    name=lambda item: item.id,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The request's id.")]


@app.command()
def ask(  # noqa: PLR0913 - one parameter per option of the command line
    queue: Annotated[str, typer.Argument(help="The queue that needs more.")],
    *,
    file: File = None,
    guarantee: Annotated[
        list[str] | None, typer.Option(help="So much more, for example cpu=40; repeatable.")
    ] = None,
    limit: Annotated[list[str] | None, typer.Option(help="So much more of its limit.")] = None,
    from_queue: Annotated[
        str | None, typer.Option("--from", help="The queue that gives it up.")
    ] = None,
    until_time: Annotated[
        str | None, typer.Option("--until", help="For example 2027-01-15T00:00:00Z.")
    ] = None,
    reason: Why,
    by: By = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key asks no second time.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Ask for more of a queue, for good or until some time."""
    flags = {
        "guarantee": pairs(guarantee, "--guarantee"),
        "limit": pairs(limit, "--limit"),
        "from_queue": from_queue,
        "until": until_time,
    }
    told = {"queue": queue, "by": person(by), "reason": reason}
    spec = parse(CapacityRequestSpec, {**merge(read_spec(file), flags), **told})
    with client() as api, output.step("ask for capacity") as step:
        asked = api.capacity_requests.ask(spec, idempotency_key=key)

        def find() -> CapacityRequestDocument | None:
            try:
                return api.capacity_requests.get(asked.id)
            except NotFound:
                return None  # no worker has booked it yet

        found = until(find, lambda seen: seen is not None, lambda _: "is booked", step)
    assert found is not None
    _show(found, style)


@app.command("list")
def list_requests(
    state: Annotated[RequestState | None, typer.Option(help="Only those.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only for this queue.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List requests, newest first."""
    with client() as api:
        page = api.capacity_requests.list(state=state, queue=queue, cursor=cursor, limit=limit)
        output.listing(page, REQUESTS, style)


@app.command()
def show(request_id: Id, style: Output = Format.TABLE) -> None:
    """Show a request: where it stands, who decided, what it waits for."""
    with client() as api:
        _show(api.capacity_requests.get(request_id), style)


@app.command()
def approve(request_id: Id, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Give the queue what is asked for; not for who asked."""
    with client() as api:
        _show(api.capacity_requests.approve(request_id, _decision(by, reason)), style)


@app.command()
def reject(request_id: Id, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let it be; not for who asked."""
    with client() as api:
        _show(api.capacity_requests.reject(request_id, _decision(by, reason)), style)


@app.command()
def withdraw(request_id: Id, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Ask for it no more; what was given until some time goes back now."""
    with client() as api:
        _show(api.capacity_requests.withdraw(request_id, _decision(by, reason)), style)


def _decision(by: str | None, reason: str) -> CapacityDecision:
    return parse(CapacityDecision, {"by": person(by), "reason": reason})


def _show(found: CapacityRequestDocument, style: Format) -> None:
    spec, waiting = found.spec, found.waiting
    rows = (
        ("request", found.id),
        ("state", found.state),
        ("waits", waiting and f"{waiting.sentence} ({waiting.code})"),
        ("since", waiting and waiting.since),
        ("queue", spec.queue),
        ("more guarantee", amount_words(spec.guarantee)),
        ("more limit", amount_words(spec.limit)),
        ("from", spec.from_queue),
        ("until", spec.until),
        ("by", spec.by),
        ("reason", spec.reason),
        ("decided by", found.decided_by or None),
        ("decision", found.decision or None),
        ("decided", found.decided_at),
        ("applied", found.applied_at),
        ("ended", found.ended_at),
    )
    output.record(found, Card(found.id, rows), style)

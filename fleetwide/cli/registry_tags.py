"""``fleetwide registry tags|history|at|undo|untag``: what tags mean and have meant."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, person
from fleetwide.cli.context import Cursor, Limit, Output, Reason, client
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.errors import InvalidInput
from fleetwide.models.registry_documents import TagDocument, TagMoment, UndoRequest
from fleetwide.registry.references import ImageReference, parse_reference

TagReference = Annotated[str, typer.Argument(metavar="REPOSITORY:TAG")]

TAGS = View[TagDocument](
    columns=(
        Column("TAG", lambda item: item.name),
        Column("DIGEST", lambda item: output.short_digest(item.digest)),
        Column("SIZE", lambda item: output.size(item.size)),
        Column("PUSHED", lambda item: item.pushed_at),
        Column("BY", lambda item: item.by),
        Column("PULLS", lambda item: item.pulls),
        Column("LAST PULL", lambda item: item.last_pulled_at),
        Column("IMMUTABLE BY", lambda item: item.immutable, wide=True),
        Column("REFERENCE", lambda item: item.reference, wide=True),
    ),
    name=lambda item: item.reference,
)
MOMENTS = View[TagMoment](
    columns=(
        Column("FROM", lambda item: item.started_at),
        Column("UNTIL", lambda item: item.ended_at),
        Column("DIGEST", lambda item: item.digest),
        Column("BY", lambda item: item.by),
        Column("ENDED BY", lambda item: item.ended_by),
        Column("IMAGE", lambda item: "there" if item.present else "gone"),
    ),
    name=lambda item: item.digest,
)


def reference_of(text: str) -> ImageReference:
    return parse_reference(text, "reference")


def _tag_of(text: str) -> tuple[str, str]:
    parsed = reference_of(text)
    if parsed.tag is None:
        raise InvalidInput.for_field("reference", "must name a tag", given=text)
    return parsed.repository, parsed.tag


def tags(
    repository: Annotated[str, typer.Argument(help="For example apps/hello.")],
    prefix: Annotated[str, typer.Option(help="Only tags that begin so.")] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List the tags of a repository."""
    with client() as api:
        page = api.registry.tags(repository, prefix=prefix, cursor=cursor, limit=limit)
        output.listing(page, TAGS, style)


def history(reference: TagReference, limit: Limit = 50, style: Output = Format.TABLE) -> None:
    """List what a tag has meant, newest first, and who changed it."""
    repository, tag = _tag_of(reference)
    with client() as api:
        output.listing(api.registry.history(repository, tag, limit=limit), MOMENTS, style)


def meaning_at(
    reference: TagReference,
    time: Annotated[datetime, typer.Argument(help="In UTC, for example 2026-11-30T12:00:00.")],
    style: Output = Format.TABLE,
) -> None:
    """Show what a tag meant at a time."""
    repository, tag = _tag_of(reference)
    with client() as api:
        _show(repository, api.registry.tag(repository, tag, at=time.replace(tzinfo=UTC)), style)


def undo(
    reference: TagReference,
    *,
    to: Annotated[str | None, typer.Option(help="A digest that it has meant.")] = None,
    reason: Reason = None,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Let a tag mean again what it meant before; also one that was deleted."""
    repository, tag = _tag_of(reference)
    request = UndoRequest(to=to, reason=reason or "", by=person(by))
    with client() as api:
        _show(repository, api.registry.undo(repository, tag, request), style)


def untag(reference: TagReference, *, reason: Reason = None, by: By = None) -> None:
    """Delete a tag; its image stays until it is collected."""
    repository, tag = _tag_of(reference)
    with client() as api:
        api.registry.untag(repository, tag, by=person(by), reason=reason or "")
    output.note(f"{reference} is deleted; bring it back by: fleetwide registry undo {reference}")


def _show(repository: str, moment: TagMoment, style: Format) -> None:
    rows = (
        ("tag", f"{repository}:{moment.tag}"),
        ("digest", moment.digest),
        ("from", moment.started_at),
        ("until", moment.ended_at),
        ("set by", moment.by),
        ("image", None if moment.present else "gone"),
    )
    output.record(moment, Card(f"{repository}@{moment.digest}", rows), style)

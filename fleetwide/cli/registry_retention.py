"""``fleetwide registry retention|delete``: what goes."""

from typing import TYPE_CHECKING, Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, person
from fleetwide.cli.context import Cursor, Limit, Output, Reason, client, going_on, noun, until
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.cli.problems import raise_failure
from fleetwide.cli.registry_gc import list_reports
from fleetwide.models.documents import Operation, OperationStatus
from fleetwide.models.registry_documents import DeletionRequest, DeletionResult
from fleetwide.models.registry_gc import UpkeepKind
from fleetwide.models.registry_retention import (
    ApplyRequest,
    RegistryRetentionRequest,
    RepositoryRetention,
    RetentionPhase,
    RetentionReport,
    ReviewedTag,
)

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Old tags: what would go by the policy's rules, and letting it go.")
AT_REST = frozenset({RetentionPhase.WAITING, RetentionPhase.APPLIED, RetentionPhase.OVER})

Id = Annotated[str, typer.Argument(help="As told by: fleetwide registry retention run.")]

SHARES = (
    Column[RepositoryRetention]("REPOSITORY", lambda item: item.repository),
    Column[RepositoryRetention]("TAGS", lambda item: item.goes),
    Column[RepositoryRetention]("AT MOST", lambda item: output.size(item.bytes)),
    Column[RepositoryRetention](
        "FOR EXAMPLE", lambda item: ", ".join(one.tag for one in item.examples[:3])
    ),
)
REVIEWED = View[ReviewedTag](
    columns=(
        Column("TAG", lambda item: item.tag),
        Column("GOES", lambda item: "yes" if item.goes else None),
        Column("RULE", lambda item: item.rule),
        Column("STAYS BECAUSE", lambda item: "; ".join(item.reasons)),
        Column("PUSHED", lambda item: item.pushed_at),
        Column("LAST PULL", lambda item: item.last_pulled_at),
        Column("SIZE", lambda item: output.size(item.size), wide=True),
        Column("DIGEST", lambda item: item.digest, wide=True),
    ),
    name=lambda item: item.tag,
)


@app.command()
def run(
    *,
    repository: Annotated[
        list[str] | None, typer.Option(help="Only these; * stands for anything. Repeatable.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Let the tags go at once.")] = False,
    reason: Reason = None,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Report which tags would go; nothing goes without --apply or `retention apply`."""
    given = {"apply": apply, "by": person(by), "reason": reason or ""}
    if repository:
        given["repositories"] = repository
    request = RegistryRetentionRequest.model_validate(given)
    with client() as api:
        operation = api.registry.retain(request)
        _show(operation.id, _wait(api, operation), style)


@app.command()
def show(retention_id: Id, style: Output = Format.TABLE) -> None:
    """Show a report, or what became of it."""
    with client() as api:
        _show(retention_id, api.registry.retention(retention_id), style)


@app.command("report")
def report(cursor: Cursor = None, limit: Limit = 50, style: Output = Format.TABLE) -> None:
    """List what earlier runs told."""
    list_reports(UpkeepKind.RETENTION, cursor, limit, style)


@app.command("apply")
def apply_report(
    retention_id: Id, *, reason: Reason = None, by: By = None, style: Output = Format.TABLE
) -> None:
    """Let the tags go that a report counts; what came into use since stays."""
    request = ApplyRequest(by=person(by), reason=reason or "")
    with client() as api:
        operation = api.registry.apply(retention_id, request)
        _show(retention_id, _wait(api, operation), style)


@app.command()
def tags(
    repository: Annotated[str, typer.Argument(help="For example apps/hello.")],
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """Show what the rules would make of each tag of a repository now."""
    with client() as api:
        page = api.registry.reviewed(repository, cursor=cursor, limit=limit)
        output.listing(page, REVIEWED, style)


def delete(
    repository: Annotated[str, typer.Argument(help="For example ci/old-app.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also where something needs one of its images.")
    ] = False,
    reason: Reason = None,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Delete a repository with all that is in it, for good."""
    from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

    request = DeletionRequest(
        repository=repository, force=force, reason=reason or "", by=person(by)
    )
    with client() as api:
        operation = api.registry.delete(request)
        result = wait_for_report(api, operation, f"deletion of {repository}")
    done = DeletionResult.model_validate(result)
    rows = (("repository", done.repository), ("deleted", done.removed.sentence))
    output.record(done, Card(done.repository, rows), style)


def _wait(api: "Client", operation: Operation) -> RetentionReport:
    """The report once it rests; a run that has failed is told as such."""
    retention_id = operation.id

    def read() -> tuple[RetentionReport, Operation]:
        ended = api.operation(operation.workflow_id)
        raise_failure(ended)
        return api.registry.retention(retention_id), ended

    def at_rest(seen: tuple[RetentionReport, Operation]) -> bool:
        return seen[0].phase in AT_REST or seen[1].status is not OperationStatus.RUNNING

    with (
        going_on(f"fleetwide registry retention show {retention_id}"),
        output.step(f"retention {retention_id}") as step,
    ):
        return until(read, at_rest, lambda seen: seen[0].sentence, step)[0]


def _show(retention_id: str, report: RetentionReport, style: Format) -> None:
    rows = (
        ("retention", retention_id),
        ("state", report.phase),
        ("tags", report.sentence),
        ("frees at most", output.size(report.bytes) if report.goes else None),
        ("policy", report.source),
        ("judged for", report.at),
    )
    kept = [f"{count}: {reason}" for reason, count in sorted(report.kept.items())]
    shares = output.table_lines(report.shares, SHARES) if report.shares else []
    sections = (Section("tags that go", shares), Section("tags that stay", kept))
    output.record(report, Card(retention_id, rows, sections), style)
    if report.phase is RetentionPhase.WAITING and style is Format.TABLE:
        output.note(f"nothing has gone yet: fleetwide registry retention apply {retention_id}")

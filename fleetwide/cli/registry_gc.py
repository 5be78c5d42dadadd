"""``fleetwide registry gc|reconcile|scrub``: the registry looks after itself."""

from typing import Annotated, Any

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, person
from fleetwide.cli.context import Cursor, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.cli.specs import merge, parse
from fleetwide.models.registry_gc import (
    Adoption,
    GarbageReport,
    GarbageRequest,
    GarbageStatus,
    PauseRequest,
    RateRequest,
    ReconcileReport,
    ReconcileRequest,
    RepositoryShare,
    ScrubReport,
    ScrubRequest,
    UpkeepEntry,
    UpkeepKind,
    UpkeepReport,
    UpkeepSchedule,
)

gc = noun("Garbage collection: what nobody needs any more goes, while pushes go on.")
reconcile = noun("Compare the registry's index with its storage.")
scrub = noun("Read the registry's blobs again.")

Run = Annotated[str, typer.Argument(help="As told by: fleetwide registry gc status.")]
Why = Annotated[str, typer.Option(help="For whoever looks at it later.")]

SHARES = (
    Column[RepositoryShare]("REPOSITORY", lambda item: item.repository),
    Column[RepositoryShare]("MANIFESTS", lambda item: item.manifests),
    Column[RepositoryShare]("BLOBS", lambda item: item.blobs),
    Column[RepositoryShare]("SIZE", lambda item: output.size(item.bytes)),
)
ENTRIES = View[UpkeepEntry](
    columns=(
        Column("KIND", lambda item: item.kind),
        Column("STATE", lambda item: "paused" if item.paused else "active"),
        Column("EVERY", lambda item: _every(item.every_hours)),
        Column("NEXT", lambda item: item.next[0] if item.next else None),
        Column("LAST", lambda item: item.last[0] if item.last else None),
    ),
    name=lambda item: item.id,
)
REPORTS = View[UpkeepReport](
    columns=(
        Column("AT", lambda item: item.at),
        Column("RUN", lambda item: item.workflow_id),
        Column("REPORT", lambda item: item.sentence),
    ),
    name=lambda item: item.workflow_id,
)


def _every(hours: float) -> str:
    return f"{hours:g} h" if hours >= 1 else f"{hours * 60:g} min"


@gc.command("run")
def run_gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    per_second: Annotated[
        float | None, typer.Option(help="Most things looked at in a second.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Things looked at between two looks at pause and rate.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Remove what nobody needs any more, and wait for the end."""
    content = merge({"dry_run": dry_run}, {"per_second": per_second, "batch": batch})
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        operation = api.upkeep.collect(parse(GarbageRequest, content))
        result = wait_for_report(api, operation, f"collection {operation.id}")
    _show_garbage(operation.id, GarbageReport.model_validate(result), style)


def _show_garbage(name: str, report: GarbageReport, style: Format) -> None:
    kept = [f"{reason}: {count}" for reason, count in report.kept.items()]
    sections = [
        Section("by repository", output.table_lines(report.repositories, SHARES)),
        Section("looked at and kept", kept),
    ]
    output.record(report, Card(name, _garbage_rows(report), sections), style)


def _garbage_rows(report: GarbageReport) -> tuple[tuple[str, object], ...]:
    coming = report.coming
    return (
        ("counted", "in part: a worker was lost meanwhile" if report.at_least else None),
        ("would free" if report.dry_run else "freed", output.size(report.bytes)),
        ("manifests", report.manifests),
        ("blobs", report.blobs),
        ("old uploads", report.uploads),
        ("looked at", report.reviewed),
        ("later", output.size(coming.bytes) if coming else None),
        ("later manifests", coming.manifests if coming else None),
        ("later blobs", coming.blobs if coming else None),
        ("later until", coming.by if coming else None),
    )


@gc.command()
def status(
    run: Annotated[str | None, typer.Argument(help="One collection.")] = None,
    style: Output = Format.TABLE,
) -> None:
    """Show what waits for a review, what runs, what runs by itself; or one collection."""
    with client() as api:
        if run is not None:
            _show_status(run, api.upkeep.status(run), style)
            return
        overview = api.upkeep.overview()
    queue = overview.queue
    rows = (
        ("due", queue.due),
        ("later", queue.later),
        ("next", queue.next_at),
        ("about to go", queue.marked),
        ("running", ", ".join(overview.running) or None),
    )
    sections = [Section("schedules", output.table_lines(overview.schedules, ENTRIES.columns))]
    output.record(overview, Card("registry", rows, sections), style)


def _show_status(run: str, found: GarbageStatus, style: Format) -> None:
    rows = (
        ("phase", found.phase),
        ("paused", found.reason or "yes" if found.paused else None),
        ("per second", found.per_second),
        *_garbage_rows(found.report),
    )
    output.record(found, Card(run, rows, []), style)


@gc.command()
def pause(run: Run, *, reason: Why = "", by: By = None, style: Output = Format.TABLE) -> None:
    """Let a collection do nothing more after the batch that runs."""
    with client() as api:
        request = PauseRequest(reason=reason, by=person(by))
        _show_status(run, api.upkeep.pause(run, request), style)


@gc.command()
def resume(run: Run, *, reason: Why = "", by: By = None, style: Output = Format.TABLE) -> None:
    """Let a collection go on."""
    with client() as api:
        request = PauseRequest(reason=reason, by=person(by))
        _show_status(run, api.upkeep.resume(run, request), style)


@gc.command()
def rate(
    run: Run,
    per_second: Annotated[float, typer.Argument(help="Things looked at in a second.")],
    style: Output = Format.TABLE,
) -> None:
    """Let a collection go faster or slower."""
    with client() as api:
        request = parse(RateRequest, {"per_second": per_second})
        _show_status(run, api.upkeep.set_rate(run, request), style)


@gc.command()
def schedule(  # noqa: PLR0913 - one parameter per option of the command line
    *,
    gc_minutes: Annotated[int | None, typer.Option(help="Between collections; 0: never.")] = None,
    reconcile_hours: Annotated[
        int | None, typer.Option(help="Between comparisons; 0: never.")
    ] = None,
    scrub_hours: Annotated[int | None, typer.Option(help="Between scrubs; 0: never.")] = None,
    retention_hours: Annotated[
        int | None, typer.Option(help="Between reports of old tags; 0: never.")
    ] = None,
    retention_apply: Annotated[
        bool | None,
        typer.Option("--retention-apply/--no-retention-apply", help="Let these tags go unasked."),
    ] = None,
    adoption: Annotated[
        Adoption | None, typer.Option(help="What is written behind the gateway's back.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Say how often the registry collects, reconciles, scrubs and retains by itself.

    What is not named stays as it is; without options, what is missing is scheduled.
    """
    intervals = {
        "gc_minutes": gc_minutes,
        "reconcile_hours": reconcile_hours,
        "scrub_hours": scrub_hours,
        "retention_hours": retention_hours,
    }
    content: dict[str, Any] = {
        name: given or None for name, given in intervals.items() if given is not None
    }
    content = merge(content, {"retention_apply": retention_apply, "adoption": adoption})
    with client() as api:
        output.listing(api.upkeep.schedule(parse(UpkeepSchedule, content)), ENTRIES, style)


@gc.command("report")
def report_gc(cursor: Cursor = None, limit: Limit = 50, style: Output = Format.TABLE) -> None:
    """List what earlier collections and dry runs told."""
    list_reports(UpkeepKind.GARBAGE, cursor, limit, style)


@reconcile.command("report")
def report_reconcile(
    cursor: Cursor = None, limit: Limit = 50, style: Output = Format.TABLE
) -> None:
    """List what earlier comparisons found."""
    list_reports(UpkeepKind.RECONCILE, cursor, limit, style)


@scrub.command("report")
def report_scrub(cursor: Cursor = None, limit: Limit = 50, style: Output = Format.TABLE) -> None:
    """List what earlier scrubs found."""
    list_reports(UpkeepKind.SCRUB, cursor, limit, style)


def list_reports(kind: UpkeepKind, cursor: str | None, limit: int, style: Format) -> None:
    """Print what runs of one kind of upkeep told, the newest first."""
    with client() as api:
        output.listing(api.upkeep.reports(kind, cursor=cursor, limit=limit), REPORTS, style)


@reconcile.command("run")
def run_reconcile(
    *,
    repository: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    adoption: Annotated[
        Adoption, typer.Option(help="What is written behind the gateway's back.")
    ] = Adoption.ADOPT,
    settle_seconds: Annotated[
        float | None, typer.Option(help="What is younger is left alone.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Compare index and storage, mend what differs, and wait for the end."""
    content = {"adoption": adoption}
    content = merge(content, {"repository": repository, "settle_seconds": settle_seconds})
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        operation = api.upkeep.reconcile(parse(ReconcileRequest, content))
        result = wait_for_report(api, operation, f"reconciliation {operation.id}")
    report = ReconcileReport.model_validate(result)
    rows = (
        ("repositories", report.repositories),
        ("blobs", report.blobs),
        ("mended", report.mended),
        *((str(kind), count) for kind, count in report.counts.items()),
    )
    sections = [Section("for example", report.examples)]
    output.record(report, Card(operation.id, rows, sections), style)


@scrub.command("run")
def run_scrub(
    *,
    bytes_per_second: Annotated[
        str | None, typer.Option(help="Most bytes read in a second, for example 20MiB.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Read all blobs again, and wait for the end."""
    request = parse(ScrubRequest, merge({}, {"bytes_per_second": bytes_per_second}))
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        operation = api.upkeep.scrub(request)
        result = wait_for_report(api, operation, f"scrub {operation.id}")
    report = ScrubReport.model_validate(result)
    rows = (
        ("blobs", report.blobs),
        ("read", output.size(report.bytes)),
        ("broken", report.broken_count),
        ("fetched again", report.fetched),
        ("healed", report.healed),
        ("manifests", report.manifests),
        ("mended", report.mended),
        ("read faster", report.hurried or None),
    )
    sections = [Section("broken", list(report.broken))]
    output.record(report, Card(operation.id, rows, sections), style)

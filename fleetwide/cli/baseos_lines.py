"""``fleetwide os channels|history|schedule|retain``: lines of releases as a whole."""

from typing import Annotated, Any

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Line, Why, stand
from fleetwide.cli.context import File, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.cli.specs import merge, parse, read_spec
from fleetwide.models.documents import ChannelDocument
from fleetwide.models.os_documents import (
    LineSchedule,
    ScheduleDocument,
    ScheduledStart,
    ScheduleEntry,
)
from fleetwide.models.os_releases import ChannelMove
from fleetwide.models.os_reports import RetentionReport, RetentionRequest

CHANNELS = View[ChannelDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("CHANNEL", lambda item: item.channel),
        Column("VERSION", lambda item: item.version),
        Column("REVISION", lambda item: item.revision),
        Column("SINCE", lambda item: item.updated_at),
    ),
    name=lambda item: f"{item.name}:{item.channel}",
)
MOVES = View[ChannelMove](
    columns=(
        Column("AT", lambda item: item.at),
        Column("CHANNEL", lambda item: item.channel),
        Column("FROM", lambda item: item.before),
        Column("TO", lambda item: item.version),
        Column("REVISION", lambda item: item.revision),
        Column("BY", lambda item: item.by),
        Column("REASON", lambda item: item.reason),
    ),
    name=lambda item: f"{item.channel}:{item.revision}",
)
ENTRIES = (
    Column[ScheduleEntry]("KIND", lambda item: item.kind),
    Column[ScheduleEntry]("STATE", lambda item: "paused" if item.paused else "active"),
    Column[ScheduleEntry]("NEXT", lambda item: item.next[0] if item.next else None),
    Column[ScheduleEntry]("LAST", lambda item: item.last[0].at if item.last else None),
    Column[ScheduleEntry]("WORKFLOW", lambda item: item.last[0].workflow_id if item.last else None),
    Column[ScheduleEntry]("NOTE", lambda item: item.note),
)


def _last(line: ScheduleDocument) -> ScheduledStart | None:
    starts = [entry.last[0] for entry in line.entries if entry.last]
    return max(starts, key=lambda one: one.at, default=None)


def _security(line: LineSchedule) -> str | None:
    return f"every {line.security_minutes} min" if line.security_minutes else None


LINES = View[ScheduleDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("STATE", lambda item: "paused" if item.paused else "active"),
        Column("DAILY", lambda item: f"{item.daily_at} UTC"),
        Column("SECURITY", _security),
        Column("RETENTION", lambda item: "daily" if item.retention else None),
        Column("NEXT", lambda item: min(time for one in item.entries for time in one.next)),
        Column("LAST", lambda item: last.at if (last := _last(item)) else None),
        Column("OWNER", lambda item: item.spec.owner, wide=True),
        Column("NOTE", lambda item: item.entries[0].note, wide=True),
    ),
    name=lambda item: item.name,
)

schedule = noun("Daily builds, security fixes, retention by themselves.")


def channels(
    name: Annotated[str | None, typer.Argument(help="Only this line.")] = None,
    style: Output = Format.TABLE,
) -> None:
    """List channels: which release each one points at."""
    with client() as api:
        output.listing(api.os.channels(name), CHANNELS, style)


def history(name: Line, limit: Limit = 50, style: Output = Format.TABLE) -> None:
    """List who moved a line's channels, where, when and why."""
    with client() as api:
        output.listing(api.os.history(name, limit=limit), MOVES, style)


@schedule.command("set")
def set_schedule(
    *,
    file: File = None,
    daily_at: Annotated[str | None, typer.Option(help="UTC, for example 03:00.")] = None,
    security_minutes: Annotated[
        int | None, typer.Option(help="Minutes between looks at the security suite.")
    ] = None,
    security: Annotated[bool, typer.Option(help="Look for security fixes at all.")] = True,
    retention: Annotated[bool, typer.Option(help="Retire old releases once a day.")] = True,
    style: Output = Format.TABLE,
) -> None:
    """Create or change the schedules of a spec's line."""
    content: dict[str, Any] = {"spec": read_spec(file), "retention": retention}
    content = merge(content, {"daily_at": daily_at, "security_minutes": security_minutes})
    if not security:
        content["security_minutes"] = None
    with client() as api:
        _show(api.os.schedules.put(parse(LineSchedule, content)), style)


@schedule.command("list")
def list_schedules(style: Output = Format.TABLE) -> None:
    """List the lines that do something by themselves."""
    with client() as api:
        output.listing(api.os.schedules.list(), LINES, style)


@schedule.command("show")
def show_schedule(name: Line, style: Output = Format.TABLE) -> None:
    """Show what one line does by itself."""
    with client() as api:
        _show(api.os.schedules.get(name), style)


@schedule.command()
def pause(name: Line, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let the times pass without a start."""
    with client() as api:
        _show(api.os.schedules.pause(name, stand(reason, by)), style)


@schedule.command()
def resume(name: Line, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Go on after a pause."""
    with client() as api:
        _show(api.os.schedules.resume(name, stand(reason, by)), style)


@schedule.command()
def remove(name: Line) -> None:
    """Let a line do nothing by itself any more; what is running goes on."""
    with client() as api:
        api.os.schedules.remove(name)
    output.note(f"{name} has no schedule any more")


def _show(line: ScheduleDocument, style: Format) -> None:
    rows = (
        ("line", line.name),
        ("os", f"{line.spec.distribution} {line.spec.suite} {line.spec.architecture}"),
        ("owner", line.spec.owner),
        ("daily", f"{line.daily_at} UTC"),
        ("security", _security(line)),
        ("retention", _policy(line) if line.retention else None),
    )
    sections = [Section("schedules", output.table_lines(line.entries, ENTRIES))]
    output.record(line, Card(line.name, rows, sections), style)


def _policy(line: LineSchedule) -> str:
    policy = line.spec.retention
    return f"beyond the newest {policy.keep}, older than {policy.max_age_days} days"


def retain(
    name: Line,
    *,
    keep: Annotated[int | None, typer.Option(help="The newest so many stay.")] = None,
    max_age_days: Annotated[int | None, typer.Option(help="Only older ones go.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    style: Output = Format.TABLE,
) -> None:
    """Retire the old releases of a line that nobody uses.

    What is not given is as in the spec of the line's newest release.
    """
    content = merge({"name": name}, {"retention": {"keep": keep, "max_age_days": max_age_days}})
    request = parse(RetentionRequest, {**content, "dry_run": dry_run})
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        result = wait_for_report(api, api.os.retain(request), f"retention of {name}")
    report = RetentionReport.model_validate(result)
    rows = (
        ("line", report.name),
        ("would retire" if report.dry_run else "retired", ", ".join(report.retired) or "none"),
    )
    kept = [f"{one.version}: {'; '.join(one.reasons)}" for one in report.kept]
    output.record(report, Card(report.name, rows, [Section("in use, so kept", kept)]), style)

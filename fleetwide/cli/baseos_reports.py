"""``fleetwide os plan|diff|lock|fixes|reproduce|console|documents``: what is in releases."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_cards import diff_lines
from fleetwide.cli.baseos_options import Line, Pointer
from fleetwide.cli.context import File, Output, client
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.cli.specs import parse, read_spec
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.documents import Page
from fleetwide.models.os_documents import DocumentEntry
from fleetwide.models.os_locks import LockedPackage, LockedSource
from fleetwide.models.os_reports import (
    FaceReproduction,
    Fix,
    FixesReport,
    PlanPreview,
    ReproductionReport,
    TrackerFinding,
)

NO_SCAN = "published fixes only, from the changelogs: this is not a vulnerability scan"

PACKAGES = View[LockedPackage](
    columns=(
        Column("PACKAGE", lambda item: item.name),
        Column("VERSION", lambda item: item.version),
        Column("ARCHITECTURE", lambda item: item.architecture),
        Column("IN", lambda item: ",".join(item.faces)),
        Column("SECURITY", lambda item: "yes" if item.security else None),
        Column("SIZE", lambda item: output.size(item.size)),
        Column("SHA256", lambda item: item.sha256, wide=True),
        Column("URL", lambda item: item.url, wide=True),
    ),
    name=lambda item: item.name,
)
FIXES = View[Fix](
    columns=(
        Column("PACKAGE", lambda item: item.package),
        Column("INSTALLED", lambda item: item.installed),
        Column("FIXED IN", lambda item: item.fixed_in),
        Column("URGENCY", lambda item: item.urgency),
        Column("CVES", lambda item: ", ".join(item.cves)),
        Column("SOURCE", lambda item: item.source, wide=True),
        Column("NOTE", lambda item: item.note, wide=True),
    ),
    name=lambda item: item.package,
)
FINDINGS = View[TrackerFinding](
    columns=(
        Column("PACKAGE", lambda item: item.package),
        Column("INSTALLED", lambda item: item.installed),
        Column("ISSUE", lambda item: item.cve),
        Column("STATE", lambda item: item.state),
        Column("FIXED IN", lambda item: item.fixed_in),
        Column("URGENCY", lambda item: item.urgency),
    ),
    name=lambda item: f"{item.package}:{item.cve}",
)
DOCUMENTS = View[DocumentEntry](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("TYPE", lambda item: item.artifact_type),
        Column("DIGEST", lambda item: output.short_digest(item.digest)),
        Column("KEY", lambda item: item.key, wide=True),
    ),
    name=lambda item: item.name,
)


def plan(file: File = None, style: Output = Format.TABLE) -> None:
    """Show what a build of a spec would do now; nothing is built."""
    spec = parse(OSImageSpec, read_spec(file))
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        result = wait_for_report(api, api.os.plan(spec), f"plan of {spec.name}")
    _show_plan(PlanPreview.model_validate(result), style)


def _show_plan(preview: PlanPreview, style: Format) -> None:
    name, lock = preview.spec.name, preview.lock
    verdict = "would make a new release"
    if preview.unchanged:
        verdict = f"would find no change: {name} {preview.unchanged} is the same"
    rows = (
        ("line", name),
        ("build", verdict),
        ("packages", f"{preview.package_count}, {output.size(lock.size)}"),
        ("lock", lock.digest),
        ("build key", preview.build_key),
        ("kernel", preview.spec.vm.kernel if "vm" in preview.spec.targets else None),
        ("compared with", preview.against or "nothing: it would be the line's first release"),
        ("changes", preview.summary),
    )
    sections = (
        Section("sources", [_source_text(one) for one in preview.sources]),
        Section("changes", diff_lines(preview.diff)),
    )
    output.record(preview, Card(name, rows, sections), style)


def _source_text(source: LockedSource) -> str:
    security = " (security)" if source.security else ""
    return f"{source.url} {source.suite} {' '.join(source.components)}{security}"


def diff(
    name: Line,
    first: Annotated[str, typer.Argument(metavar="A", help="A version or a channel.")],
    second: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Unset: what A changed since its parent.")
    ] = None,
    style: Output = Format.TABLE,
) -> None:
    """Show the packages that changed from release A to release B."""
    pointer, against = (second, first) if second else (first, None)
    with client() as api:
        found = api.os.diff(name, pointer, against)
    rows = (
        ("release", f"{name} {found.version}"),
        ("compared with", found.against or "nothing: it is the line's first release"),
        ("changes", found.summary),
    )
    card = Card(f"{name}:{found.version}", rows, [Section("changes", diff_lines(found.diff))])
    output.record(found, card, style)


def lock(name: Line, pointer: Pointer = "stable", style: Output = Format.TABLE) -> None:
    """List every package of a release.

    JSON and YAML are the lock itself.
    """
    with client() as api:
        found = api.os.lock(name, pointer)
    if style in (Format.JSON, Format.YAML):
        output.values(found, style)
    else:
        output.listing(Page(items=found.packages), PACKAGES, style)


def fixes(name: Line, pointer: Pointer = "stable", style: Output = Format.TABLE) -> None:
    """List published fixes that a release lacks. It is not a vulnerability scan."""
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        operation = api.os.fixes(name, pointer)
        result = wait_for_report(api, operation, f"fixes for {name}:{pointer}")
    report = FixesReport.model_validate(result)
    if style in (Format.JSON, Format.YAML):
        output.values(report, style)
    else:
        _show_fixes(report, style)


def _show_fixes(report: FixesReport, style: Format) -> None:
    cves = {cve for fix in report.fixes for cve in fix.cves}
    output.note(
        f"{report.name} {report.version} against {', '.join(report.compared_with)}: "
        f"{len(report.fixes)} packages have fixes, which name {len(cves)} CVEs; {NO_SCAN}"
    )
    if report.fixes:
        output.listing(Page(items=report.fixes), FIXES, style)
    if report.findings:
        output.note(f"what the security tracker says ({report.tracker}):")
        output.listing(Page(items=report.findings), FINDINGS, style)


def reproduce(name: Line, pointer: Pointer = "stable", style: Output = Format.TABLE) -> None:
    """Build a release again from its lock and compare the bytes.

    Exit code 1 when they differ.
    """
    with client() as api:
        from fleetwide.cli.errands import wait_for_report  # noqa: PLC0415

        operation = api.os.reproduce(name, pointer)
        result = wait_for_report(api, operation, f"{name}:{pointer} again")
    report = ReproductionReport.model_validate(result)
    rows = (
        ("release", f"{report.name} {report.version}"),
        ("lock", report.lock),
        ("reproduced", f"{'yes' if report.reproduced else 'no'}: {report.summary}"),
    )
    faces = [line for face in report.faces for line in _face_lines(face)]
    title = f"{report.name} {report.version}"
    output.record(report, Card(title, rows, [Section("digests", faces)]), style)
    if not report.reproduced:
        raise typer.Exit(Exit.FAILED)


def _face_lines(face: FaceReproduction) -> list[str]:
    rebuilt = face.rebuilt
    return [
        f"{face.target:<9}  released  {face.released}",
        f"{face.target:<9}  now       {rebuilt.digest} in {rebuilt.seconds:.0f} s",
    ]


def console(name: Line, version: Pointer) -> None:
    """Print what the VM said in its boot test.

    Also of a build that failed.
    """
    with client() as api:
        output.data(api.os.console(name, version), end="")


def documents(
    name: Line,
    version: Pointer,
    file: Annotated[str | None, typer.Argument(help="Print this one.")] = None,
    style: Output = Format.TABLE,
) -> None:
    """List SBOMs, provenance, signature; or print one of them."""
    with client() as api:
        if file is None:
            output.listing(api.os.documents(name, version), DOCUMENTS, style)
        else:
            output.data(api.os.document(name, version, file).decode(), end="")

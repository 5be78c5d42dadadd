"""How OS releases look."""

from collections.abc import Iterator

from fleetwide.cli import output
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.models.documents import ReleaseDocument
from fleetwide.models.os_releases import AmiImage, BootReport, DiskImage, StaticReport
from fleetwide.models.os_reports import PackageChange, PackageDiff


def _boot_word(release: ReleaseDocument) -> str | None:
    if release.boot is None:
        return None
    return "passed" if release.boot.passed else "failed"


RELEASES = View[ReleaseDocument](
    columns=(
        Column("NAME", lambda item: item.name),
        Column("VERSION", lambda item: item.version),
        Column("STATE", lambda item: item.state),
        Column("CHANNELS", lambda item: ",".join(item.channels)),
        Column("OS", lambda item: f"{item.distribution} {item.suite}"),
        Column("PACKAGES", lambda item: item.package_count or None),
        Column("DIGEST", lambda item: output.short_digest(item.image_digest)),
        Column("CREATED", lambda item: item.created_at),
        Column("ARCHITECTURE", lambda item: item.architecture, wide=True),
        Column("TARGETS", lambda item: ",".join(item.targets), wide=True),
        Column("SIZE", lambda item: _size(item.uncompressed_size), wide=True),
        Column(
            "LOCK",
            lambda item: output.short_digest(item.lock.digest if item.lock else None),
            wide=True,
        ),
        Column("BOOT", _boot_word, wide=True),
        Column("AMIS", lambda item: ",".join(ami.region for ami in item.amis), wide=True),
        Column("WORKFLOW", lambda item: item.workflow_id, wide=True),
    ),
    name=lambda item: f"{item.name}:{item.version}",
)
AMIS = (
    Column[AmiImage]("REGION", lambda ami: ami.region),
    Column[AmiImage]("AMI", lambda ami: ami.image_id),
    Column[AmiImage]("SNAPSHOT", lambda ami: ami.snapshot_id),
    Column[AmiImage]("NAME", lambda ami: ami.name),
)


def show_release(release: ReleaseDocument, style: Format) -> None:
    """Every part of the release that there is so far."""
    rows = (
        ("release", f"{release.name} {release.version}"),
        ("state", release.state),
        ("reason", release.reason),
        ("channels", ", ".join(release.channels)),
        ("parent", release.parent),
        ("os", f"{release.distribution} {release.suite} {release.architecture} {release.variant}"),
        ("targets", ", ".join(release.targets)),
        ("packages", _packages(release)),
        ("lock", _lock(release)),
        ("image", release.reference if release.image_digest else None),
        ("layer", _layer(release)),
        ("size", _size(release.uncompressed_size)),
        ("disk", _disk(release.disk)),
        ("checks", _checks(release)),
        ("boot test", _boot(release.boot)),
        ("created", release.created_at),
        ("candidate", release.candidate_at),
        ("promoted", release.promoted_at),
        ("web ui", release.links.get("ui")),
    )
    sections = (
        Section("failed checks", list(_failed(release))),
        Section("amis", output.table_lines(release.amis, AMIS) if release.amis else []),
        Section("documents", [one.key.rpartition("/")[2] for one in release.attachments]),
    )
    output.record(release, Card(f"{release.name}:{release.version}", rows, sections), style)


def diff_lines(diff: PackageDiff) -> list[str]:
    """One line for each change, in the order of the packages' names."""
    lines = [
        *((one.name, f"+ {one.name} {one.after}{_security(one)}") for one in diff.added),
        *((one.name, f"- {one.name} {one.before}") for one in diff.removed),
        *((one.name, f"~ {_step(one)}{_security(one)}") for one in diff.upgraded),
        *((one.name, f"~ {_step(one)} (downgrade)") for one in diff.downgraded),
        *((one.name, f"! {one.name} {one.after} (other bytes)") for one in diff.replaced),
    ]
    return [line for _, line in sorted(lines)]


def _step(change: PackageChange) -> str:
    return f"{change.name} {change.before} -> {change.after}"


def _security(change: PackageChange) -> str:
    return " (security)" if change.security else ""


def _size(count: int) -> str | None:
    return output.size(count) if count else None


def _packages(release: ReleaseDocument) -> str | None:
    if not release.package_count:
        return None
    asked = f", asked for: {', '.join(release.packages)}" if release.packages else ""
    return f"{release.package_count}{asked}"


def _lock(release: ReleaseDocument) -> str | None:
    lock = release.lock
    if lock is None:
        return None
    return f"{lock.digest}, {lock.package_count} packages, {output.size(lock.size)}"


def _layer(release: ReleaseDocument) -> str | None:
    layer = release.layer
    return f"{layer.digest}, {output.size(layer.size)}" if layer else None


def _disk(disk: DiskImage | None) -> str | None:
    if disk is None:
        return None
    size = f"{output.size(disk.size)}, {output.size(disk.used)} of it used"
    return f"{disk.digest}, {size}, boots by {disk.boot}"


def _boot(boot: BootReport | None) -> str | None:
    if boot is None:
        return None
    verdict = "passed" if boot.passed else "failed"
    told = f"{boot.state} after {boot.seconds:.0f} s under {boot.accelerator}, by {boot.boot}"
    good = sum(check.passed for check in boot.checks)
    return f"{verdict}: {told}; {good} of {len(boot.checks)} checks passed"


def _checks(release: ReleaseDocument) -> str:
    return "; ".join(f"{target}: {_passed(report)}" for target, report in release.static.items())


def _passed(report: StaticReport) -> str:
    good = sum(check.passed for check in report.checks)
    return f"{good} of {len(report.checks)} passed"


def _failed(release: ReleaseDocument) -> Iterator[str]:
    reports = [(str(target), report.checks) for target, report in release.static.items()]
    if release.boot:
        reports.append(("boot test", release.boot.checks))
    for where, checks in reports:
        for check in checks:
            if not check.passed:
                yield f"{where}, {check.name}: {'; '.join(check.found)}"

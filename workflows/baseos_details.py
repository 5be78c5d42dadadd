"""What the Temporal Web UI shows of an OS build: markdown that is kept up to date."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from fleetwide.models.baseos import BuildPlan
    from fleetwide.models.os_releases import OSRelease, ReleaseState


def details(name: str, step: str, plan: BuildPlan | None, release: OSRelease | None) -> str:
    """The step at hand, and every part of the release that there is so far."""
    lines = [f"**{name}**: {step}"]
    if plan:
        lines.append(f"- version: `{plan.version}`")
    if plan and plan.parent:
        lines.append(f"- parent: `{plan.parent}`")
    if release:
        lines += _parts(release)
    return "\n".join(lines)


def _parts(release: OSRelease) -> list[str]:
    lines = []
    if release.lock:
        lines.append(f"- lock: `{release.lock.digest}`, {release.lock.package_count} packages")
    if release.image_digest:
        lines.append(f"- image: `{release.reference}`, {release.package_count} packages")
    if release.disk:
        disk = release.disk
        lines.append(f"- disk: `{disk.digest}`, {disk.used // 1024**2} MiB of {disk.boot} disk")
    if release.boot:
        boot = release.boot
        verdict = "passed" if boot.passed else "failed"
        lines.append(f"- boot test: {verdict}, {boot.state} after {boot.seconds:.0f} s")
    lines += [f"- AMI in {ami.region}: `{ami.image_id}`" for ami in release.amis]
    if release.state is ReleaseState.CANDIDATE and release.candidate_at:
        lines.append(f"- promote: `fleetwide os promote {release.name} {release.version}`")
    if release.state is ReleaseState.PREVIOUS:
        lines.append(f"- roll back: `fleetwide os promote {release.name} {release.version}`")
    return lines

"""What the Temporal Web UI shows of a bake: markdown that is kept up to date."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from fleetwide.models.bakery import BakeSpec
    from fleetwide.models.bakes import BakedImage, BakeFailure, BakeState, ResolvedBake


def details(
    spec: BakeSpec,
    state: BakeState,
    bake: ResolvedBake | None,
    image: BakedImage | None,
    failure: BakeFailure | None,
) -> str:
    """The stage at hand, and every part of the bake that there is so far."""
    lines = [f"**{spec.name} {spec.version}**: {state}"]
    if bake:
        base = bake.base
        lines.append(f"- base: `{base.name}:{base.version}` (`{base.digest[:19]}`)")
        lines.append(f"- bake key: `{bake.bake_key}`")
    if bake and bake.recipe:
        lines.append(f"- recipe: `{bake.recipe.reference}`")
    if bake and bake.dependencies:
        lines.append(f"- dependencies: {len(bake.dependencies)}")
    if bake and bake.reusable:
        lines.append(f"- layer of `{bake.reusable.bake_key[:12]}`: nothing is built")
    if failure:
        lines.append(f"- {failure.reason} while {failure.stage}: {failure.message}")
    if failure and failure.hint:
        lines.append(f"- hint: `{failure.hint}`")
    if image:
        lines += _parts(image)
    return "\n".join(lines)


def _parts(image: BakedImage) -> list[str]:
    lines = []
    if image.digest:
        lines.append(f"- image: `{image.reference}`")
        lines.append(f"- run it: `fleetwide task run --image {image.reference}`")
    if image.smoke:
        lines.append(f"- smoke test: {image.smoke.how}")
    lines += [f"- {found.severity}: {found.where}: {found.message}" for found in image.findings[:8]]
    lines += [f"- AMI in {ami.region}: `{ami.image_id}`" for ami in image.amis]
    return lines

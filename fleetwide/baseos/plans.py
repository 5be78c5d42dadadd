"""From a spec with defaults to a plan with none left open."""

from datetime import UTC, datetime

from fleetwide.models.baseos import BuildPlan, OSImageSpec
from fleetwide.registry.references import version_tag


def repository_of(name: str) -> str:
    """The registry repository of an OS line."""
    return f"baseos/{name}"


def make_plan(spec: OSImageSpec, version: str, workflow_id: str, now: datetime) -> BuildPlan:
    """Fill in every default of ``spec``. The same plan gives the same bytes.

    ``now`` must carry a time zone. It only matters when the spec has no source date epoch: then
    file times are clamped to the start of its day in UTC.
    """
    return BuildPlan(
        workflow_id=workflow_id,
        spec=spec,
        name=spec.name,
        version=version,
        source_date_epoch=_epoch(spec, now),
        repository=repository_of(spec.name),
        tag=version_tag(version),
    )


def _epoch(spec: OSImageSpec, now: datetime) -> int:
    if spec.source_date_epoch is not None:
        return spec.source_date_epoch
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(day.timestamp())

"""From a spec to a plan: what a release is called, and where it lies."""

from fleetwide.models.baseos import BuildPlan, OSImageSpec
from fleetwide.registry.references import version_tag


def repository_of(name: str) -> str:
    """The registry repository of an OS line."""
    return f"baseos/{name}"


def make_plan(
    spec: OSImageSpec, version: str, workflow_id: str, parent: str | None = None
) -> BuildPlan:
    """The plan of one version of the spec's line; ``parent`` is the release before it."""
    return BuildPlan(
        workflow_id=workflow_id,
        spec=spec,
        name=spec.name,
        version=version,
        repository=repository_of(spec.name),
        tag=version_tag(version),
        parent=parent,
    )

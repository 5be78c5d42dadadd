"""What a copy of a service is as a container task."""

from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.models.membership import Membership
from fleetwide.models.services import ContainerServiceSpec

SHARED = ("app", "owner", "labels", "capacity_group", "priority")


def task_of(spec: ContainerServiceSpec, member: Membership) -> ContainerTaskSpec:
    """The task of one copy: it has no runtime limit, and its service alone follows its end."""
    container = spec.container.model_copy(update={"runtime_limit_seconds": None})
    shared = {name: getattr(spec, name) for name in SHARED}
    return ContainerTaskSpec(**shared, container=container, membership=member)

"""From what people write, and hosts report, to what the engine reads."""

from collections.abc import Mapping

from fleetwide.containers.placement.amounts import Amounts
from fleetwide.containers.placement.fleet import Traits
from fleetwide.containers.placement.requests import Shape, Wishes
from fleetwide.models.hosts import image_mark
from fleetwide.models.placement import ConstraintSet, StoredContainer, StoredResources
from fleetwide.models.resources import usual_disk

TAINT_PREFIX = "taint."
"""A host label that begins like this is a taint: only tasks that tolerate it are placed there."""


def traits_of(labels: Mapping[str, str]) -> Traits:
    """What a host's labels say of it. They stay labels too."""
    return Traits(
        zone=labels.get("zone", ""),
        machine_group=labels.get("machine-group", ""),
        machine_type=labels.get("machine-type", ""),
        cpu_model=labels.get("cpu-model", ""),
        backend=labels.get("backend", ""),
        labels=frozenset(labels.items()),
        taints=frozenset(
            name.removeprefix(TAINT_PREFIX) for name in labels if name.startswith(TAINT_PREFIX)
        ),
    )


def shape_of(container: StoredContainer, image: str = "") -> Shape:
    """What a container asks of its host. ``image`` is pinned by digest, if it is known."""
    constraints, ports = container.constraints, container.resources.ports
    return Shape(
        amounts=amounts_of(container.resources),
        ports=frozenset(port.static for port in ports.values() if port.static is not None),
        any_ports=sum(port.static is None for port in ports.values()),
        image=image_mark(image),
        hard=wishes_of(constraints.hard, container.host_labels),
        soft=wishes_of(constraints.soft),
        tolerations=frozenset(constraints.tolerations),
        fit=constraints.fit,
    )


def amounts_of(resources: StoredResources) -> Amounts:
    """What a container takes of its host."""
    cpu_milli = round(resources.cpu * 1000)
    disk = usual_disk(cpu_milli) if resources.disk is None else resources.disk
    return Amounts(cpu_milli, resources.memory, disk, resources.network, resources.gpus)


def wishes_of(given: ConstraintSet, labels: Mapping[str, str] | None = None) -> Wishes:
    """Constraints as the engine reads them, with further labels that the host must have."""
    return Wishes(
        active_host=given.active_host,
        zones=frozenset(given.availability_zone),
        machine_ids=frozenset(given.machine_id),
        machine_groups=frozenset(given.machine_group),
        machine_types=frozenset(given.machine_type),
        backends=frozenset(given.kube_backend),
        cpu_models=frozenset(given.cpu_model),
        labels=frozenset({*given.label.items(), *(labels or {}).items()}),
        not_labels=frozenset(given.not_label.items()),
        unique_host=given.unique_host,
        exclusive_host=given.exclusive_host,
        zone_balance=given.zone_balance,
        not_with_jobs=frozenset(given.not_with_job),
    )

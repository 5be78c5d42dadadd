"""The container base image of an OS release: its metadata and documents."""

from fleetwide.models.base import Layer
from fleetwide.models.os_releases import LockedPlan
from fleetwide.registry.oci import (
    HistoryStep,
    ImageDocuments,
    ImageParts,
    RunConfig,
    build_image,
    rfc3339,
)


def base_metadata(locked: LockedPlan) -> dict[str, str]:
    """Labels of the config, and equally the annotations of the manifest."""
    plan, spec = locked.plan, locked.plan.spec
    return {
        "org.opencontainers.image.title": plan.name,
        "org.opencontainers.image.version": plan.version,
        "org.opencontainers.image.created": rfc3339(locked.source_date_epoch),
        "org.opencontainers.image.ref.name": f"{plan.repository}:{plan.tag}",
        "org.opencontainers.image.description": (
            f"{plan.name} {plan.version}: {spec.distribution} {spec.suite}, {spec.variant}"
        ),
        "fleetwide.os.release": f"{plan.name}:{plan.version}",
        "fleetwide.os.distribution": spec.distribution.value,
        "fleetwide.os.suite": spec.suite,
        "fleetwide.os.variant": spec.variant.value,
        "fleetwide.os.lock": locked.lock.digest,
        "fleetwide.os.build-key": locked.build_key,
        **({"fleetwide.os.parent": f"{plan.name}:{plan.parent}"} if plan.parent else {}),
        "fleetwide.kind": "base",
    }


def base_image(locked: LockedPlan, layer: Layer) -> ImageDocuments:
    """The documents of a release's container base image with its one layer."""
    plan, spec = locked.plan, locked.plan.spec
    metadata = base_metadata(locked)
    step = HistoryStep(
        f"OSImageBuild {plan.name} {plan.version}",
        f"{spec.distribution} {spec.suite} {spec.variant}",
    )
    return build_image(
        ImageParts(
            architecture=spec.architecture.value,
            epoch=locked.source_date_epoch,
            layers=[layer],
            history=[step],
            run=RunConfig(command=["/bin/sh"], labels=metadata),
            annotations=metadata,
        )
    )

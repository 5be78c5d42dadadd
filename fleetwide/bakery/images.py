"""A baked image: its standard metadata and its documents."""

from typing import Any

from fleetwide.models.bakery import ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.registry.oci import (
    HistoryStep,
    ImageDocuments,
    ImageParts,
    RunConfig,
    build_image,
    rfc3339,
)
from fleetwide.registry.references import version_tag


def bake_metadata(bake: ResolvedBake) -> dict[str, str]:
    """Labels of the config, and equally the annotations of the manifest.

    The owner is not among them: it may change while the image stays, so it lives in the inventory.
    """
    spec, base = bake.spec, bake.base
    return {
        **spec.labels,
        "org.opencontainers.image.title": spec.name,
        "org.opencontainers.image.version": spec.version,
        "org.opencontainers.image.created": rfc3339(base.created_epoch),
        "org.opencontainers.image.ref.name": f"{bake.repository}:{version_tag(spec.version)}",
        "org.opencontainers.image.base.name": f"{base.repository}:{version_tag(base.version)}",
        "org.opencontainers.image.base.digest": base.digest,
        "fleetwide.bake.key": bake.bake_key,
        "fleetwide.bake.artifacts": " ".join(
            f"{one.type}:sha256:{one.sha256}" for one in spec.artifacts
        ),
        "fleetwide.os.release": f"{base.name}:{base.version}",
        "fleetwide.os.distribution": base.distribution,
        "fleetwide.os.suite": base.suite,
        "fleetwide.kind": "workload",
    }


def baked_image(
    bake: ResolvedBake, layer: Layer, base_history: list[dict[str, Any]]
) -> ImageDocuments:
    """The documents of a bake: the base's layer, then the workload's.

    ``base_history`` is the history of the base's own config, so that the image's names both.
    """
    spec, base = bake.spec, bake.base
    metadata = bake_metadata(bake)
    history = [
        HistoryStep(str(step.get("created_by", "")), str(step.get("comment", "")))
        for step in base_history
    ]
    names = ", ".join(artifact.type.value for artifact in spec.artifacts)
    return build_image(
        ImageParts(
            architecture=base.architecture,
            epoch=base.created_epoch,
            layers=[base.layer, layer],
            history=[*history, HistoryStep(f"Bake {spec.name} {spec.version}", names)],
            run=RunConfig(
                env=spec.env,
                entrypoint=spec.entrypoint,
                command=spec.command,
                user=spec.user,
                workdir=spec.workdir,
                ports=sorted(set(spec.ports)),
                labels=metadata,
            ),
            annotations=metadata,
        )
    )

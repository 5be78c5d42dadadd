"""The bake key: one hash over everything that decides an image's bytes, and nothing else."""

import hashlib

from fleetwide.models.bakery import Artifact, ArtifactType, BakeSpec, BaseImage
from fleetwide.registry.digests import canonical_json

# Raise it whenever the same inputs begin to give other bytes; old images are then baked anew.
SCHEMA_VERSION = 1


def repository_of(name: str) -> str:
    """The registry repository of a workload's images."""
    return f"apps/{name}"


def bake_key(spec: BakeSpec, base: BaseImage) -> str:
    """The 64 hexadecimal digits that name a bake.

    The base counts by its resolved digest, not by the channel that was asked for; who owns the
    image and where an artifact was fetched from do not count.
    """
    document = {
        "schema": SCHEMA_VERSION,
        "name": spec.name,
        "version": spec.version,
        "architecture": base.architecture,
        "base": {
            "digest": base.digest,
            "release": [base.name, base.version],
            "repository": base.repository,
            "epoch": base.created_epoch,
        },
        "artifacts": [_artifact_part(artifact) for artifact in spec.artifacts],
        "entrypoint": spec.entrypoint,
        "command": spec.command,
        "env": spec.env,
        "user": spec.user,
        "workdir": spec.workdir,
        "ports": sorted(set(spec.ports)),
        "labels": spec.labels,
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _artifact_part(artifact: Artifact) -> dict[str, str]:
    part = {"type": artifact.type.value, "sha256": artifact.sha256}
    if artifact.type is ArtifactType.WHEEL:
        # A wheel's name carries the tags that it is checked against; other names are mere labels.
        part["filename"] = artifact.filename
    return part

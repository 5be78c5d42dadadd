"""The keys of a bake: hashes over everything that decides an image's bytes, and nothing else."""

import hashlib
from collections.abc import Sequence
from typing import Any

from fleetwide.models.bakery import Artifact, ArtifactType, BakeSpec
from fleetwide.models.bakes import AppliedRecipe, BaseImage, Dependency
from fleetwide.models.baseos import Target
from fleetwide.registry.digests import canonical_json

# Raise it whenever the same inputs begin to give other bytes; old images are then baked anew.
SCHEMA_VERSION = 5

KeyDocument = dict[str, Any]
"""Every input of a key by its name, as plain JSON."""


def repository_of(name: str) -> str:
    """The registry repository of a workload's images."""
    return f"apps/{name}"


def request_document(
    spec: BakeSpec, base: BaseImage, recipe: AppliedRecipe | None = None
) -> KeyDocument:
    """What was asked for, with the recipe merged into ``spec``.

    The base counts by its resolved digest, not by the channel that was asked for. Who owns the
    image, which build its artifacts came from, where they were fetched, labels, regions and tests
    do not count.
    """
    return {
        "base": f"{base.name}:{base.version}@{base.digest}",
        **_content(spec, base, recipe),
        **({"disk": base.disk.digest} if base.disk and Target.VM in spec.targets else {}),
    }


def bake_document(request: KeyDocument, dependencies: Sequence[Dependency]) -> KeyDocument:
    """What was asked for, and what had to be resolved for it."""
    if not dependencies:
        return request
    pinned = {f"{one.kind}:{one.name}": f"{one.version} {one.sha256}" for one in dependencies}
    return {**request, "dependencies": pinned}


def content_document(document: KeyDocument, base: BaseImage) -> KeyDocument:
    """The same without the base: a layer of equal content fits every base that it can run on.

    Python packages lie in folders of one version of Python, which each suite has its own of.
    """
    content = {name: value for name, value in document.items() if name not in ("base", "disk")}
    if _PYTHON & {artifact["type"] for artifact in document["artifacts"]}:
        content["suite"] = f"{base.distribution} {base.suite}"
    return content


def key_of(document: KeyDocument) -> str:
    """The 64 hexadecimal digits of a document."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def needs_resolution(spec: BakeSpec) -> bool:
    """Whether something may have to come along that the request does not name by its bytes."""
    kinds = {artifact.type for artifact in spec.artifacts}
    return bool(kinds & _DEPENDING or spec.packages or spec.init)


def differences(before: KeyDocument, after: KeyDocument) -> list[tuple[str, Any, Any]]:
    """The inputs that two documents do not share: name, before, after; None where there is none."""
    names = sorted(before.keys() | after.keys())
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return [(name, old, new) for name, old, new in pairs if old != new]


def _content(spec: BakeSpec, base: BaseImage, recipe: AppliedRecipe | None) -> KeyDocument:
    return {
        "schema": SCHEMA_VERSION,
        "name": spec.name,
        "version": spec.version,
        "architecture": base.architecture,
        "targets": sorted(spec.targets),
        "artifacts": [_artifact_part(artifact) for artifact in spec.artifacts],
        "packages": sorted(set(spec.packages)),
        "files": [file.model_dump(mode="json") for file in recipe.files] if recipe else [],
        "drop_setuid": recipe.drop_setuid if recipe else False,
        "entrypoint": spec.entrypoint,
        "command": spec.command,
        "env": spec.env,
        "user": spec.user,
        "workdir": spec.workdir,
        "ports": sorted(set(spec.ports)),
        "volumes": sorted(set(spec.volumes)),
        "healthcheck": spec.healthcheck.model_dump() if spec.healthcheck else None,
        "init": spec.init,
    }


def _artifact_part(artifact: Artifact) -> dict[str, str]:
    part = {"type": artifact.type.value, "sha256": artifact.sha256}
    if artifact.type in _NAMED:
        part["filename"] = artifact.filename
    return part


_PYTHON = frozenset({ArtifactType.WHEEL, ArtifactType.SDIST})
_DEPENDING = frozenset({ArtifactType.DEB, ArtifactType.WHEEL, ArtifactType.SDIST})
# A wheel's name carries the tags that it is checked against, a binary's is the program's; other
# names are mere labels.
_NAMED = frozenset({ArtifactType.WHEEL, ArtifactType.SDIST, ArtifactType.BINARY})

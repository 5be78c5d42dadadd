"""How an image was baked, as SLSA provenance: what was asked for, and all that went in."""

from collections.abc import Iterator
from typing import Any

from fleetwide.bakery.public_urls import public_url
from fleetwide.baseos.provenance import (
    BuildDefinition,
    BuildOutput,
    BuildRun,
    sha256_set,
    slsa_statement,
)
from fleetwide.models.bakery import Artifact, BakeSpec
from fleetwide.models.bakes import BaseImage, Dependency, DocumentBake, ResolvedBake
from fleetwide.registry.references import version_tag

BUILD_TYPE = "urn:fleetwide:bake:v1"
"""The parameters are the spec of a ``Bake``, without the values of ``env`` and ``parameters``."""

Resource = dict[str, Any]
"""An in-toto resource descriptor."""


def bake_statement(request: DocumentBake, run: BuildRun) -> bytes:
    """The statement that the bake's image, layer and disk came out of what it names."""
    bake = request.bake
    definition = BuildDefinition(
        build_type=BUILD_TYPE,
        external_parameters={"spec": public_spec(bake.spec)},
        internal_parameters=_decided(bake),
        resolved_dependencies=list(_resources(bake)),
    )
    return slsa_statement(definition, _outputs(request), run)


def public_spec(spec: BakeSpec) -> dict[str, Any]:
    """The request without its secrets.

    Of the environment and of a recipe's parameters only the names are told, and of addresses
    nothing that may be a key to them.
    """
    told = spec.model_dump(mode="json")
    told["env"] = sorted(spec.env)
    told["parameters"] = sorted(spec.parameters)
    for artifact in told["artifacts"]:
        if artifact["url"] is not None:
            artifact["url"] = public_url(artifact["url"])
    return told


def _decided(bake: ResolvedBake) -> dict[str, Any]:
    known = {
        "bakeKey": bake.bake_key,
        "contentKey": bake.content_key,
        "base": f"{bake.base.name}:{bake.base.version}",
        "recipe": bake.recipe.reference if bake.recipe else "",
        # The bake whose layer was taken over as it is.
        "layerOfBake": bake.reusable.bake_key if bake.reusable else "",
    }
    return {
        **{name: value for name, value in known.items() if value},
        "sourceDateEpoch": bake.base.created_epoch,
    }


def _outputs(request: DocumentBake) -> list[BuildOutput]:
    bake = request.bake
    named = {
        f"{bake.repository}:{version_tag(bake.spec.version)}": request.digest,
        "layer.tar.gz": request.built.layer.digest if request.built else None,
        "disk.raw": request.disk.disk.digest if request.disk else None,
    }
    return [BuildOutput(name=name, digest=digest) for name, digest in named.items() if digest]


def _resources(bake: ResolvedBake) -> Iterator[Resource]:
    yield from _base(bake.base)
    yield from map(_artifact, bake.spec.artifacts)
    yield from map(_dependency, bake.dependencies)


def _base(base: BaseImage) -> Iterator[Resource]:
    """The faces of the base that there are, and the lock that it was built from."""
    name = f"{base.name}:{base.version}"
    if base.layer is not None:
        container = {"name": f"base {name}", "digest": sha256_set(base.digest)}
        yield {**container, "annotations": {"repository": base.repository}}
    if base.disk is not None:
        yield {"name": f"base disk {name}", "digest": sha256_set(base.disk.digest)}
    if base.lock is not None:
        yield {"name": f"base lock {name}", "digest": sha256_set(base.lock.digest)}


def _artifact(artifact: Artifact) -> Resource:
    return {
        "name": artifact.filename,
        **_uri(artifact.url),
        "digest": {"sha256": artifact.sha256},
        "annotations": {"type": artifact.type.value},
    }


def _dependency(dependency: Dependency) -> Resource:
    return {
        "name": f"{dependency.name} {dependency.version}",
        **_uri(dependency.url),
        "digest": {"sha256": dependency.sha256},
        "annotations": {"type": dependency.kind.value},
    }


def _uri(url: str | None) -> dict[str, str]:
    return {"uri": public_url(url)} if public_url(url) else {}

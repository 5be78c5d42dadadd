"""A baked image: its standard metadata and its documents."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetwide.bakery.smoke import INIT
from fleetwide.bakery.vm_tags import appversion
from fleetwide.errors import FieldFault, InvalidInput, PlatformError
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BakedImage, ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.registry.digests import canonical_json
from fleetwide.registry.oci import (
    LAYER_TYPE,
    HistoryStep,
    ImageDocuments,
    ImageParts,
    RunConfig,
    build_image,
    rfc3339,
)
from fleetwide.registry.references import version_tag
from fleetwide.validation import from_faults

PLATFORM_PREFIXES = ("org.opencontainers.", "fleetwide.")
SBOM_LABEL = "fleetwide.sbom.digest"
MAX_LABEL_BYTES = 4096
MAX_LABELS_BYTES = 128 * 1024
"""Of all labels' names and values; they stand in an image twice, and a registry takes 4 MiB."""
LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class BaseContent:
    """What the base's own manifest and config say; both run from the bottom up."""

    layers: Sequence[Layer]
    history: Sequence[HistoryStep]


def base_content(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> BaseContent:
    """Read the documents of a base.

    Raises:
        PlatformError: they do not belong together, or its layers are none of ours.
    """
    layers, diff_ids = manifest.get("layers", []), config.get("rootfs", {}).get("diff_ids", [])
    if len(layers) != len(diff_ids):
        raise PlatformError(
            f"the base has {len(layers)} layers, but its config names {len(diff_ids)}"
        )
    strange = [one["mediaType"] for one in layers if one["mediaType"] != LAYER_TYPE]
    if strange:
        raise PlatformError(f"the base has a layer of type {strange[0]}, not {LAYER_TYPE}")
    return BaseContent(
        layers=[
            Layer(digest=one["digest"], diff_id=diff_id, size=one["size"])
            for one, diff_id in zip(layers, diff_ids, strict=True)
        ],
        history=[
            HistoryStep(
                str(step.get("created_by", "")),
                str(step.get("comment", "")),
                has_layer=not step.get("empty_layer", False),
            )
            for step in config.get("history", [])
        ],
    )


def bake_metadata(bake: ResolvedBake, sbom_digest: str) -> dict[str, str]:
    """Labels of the config, and equally the annotations of the manifest.

    What is not known is left out. ``sbom_digest`` is that of the SPDX document about the layer.
    Raises ``InvalidInput`` like ``check_labels``.
    """
    check_labels(bake.spec.labels)
    ours = {
        **_standard(bake),
        **_build(bake.spec),
        **_content(bake),
        SBOM_LABEL: sbom_digest,
    }
    return {**bake.spec.labels, **{name: value for name, value in ours.items() if value}}


def metadata_changed(image: BakedImage, bake: ResolvedBake) -> bool:
    """Whether the image of the same bytes says something else than it would if baked now."""
    return image.metadata != bake_metadata(bake, image.metadata.get(SBOM_LABEL, ""))


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that an image cannot carry.

    Raises:
        InvalidInput: a name or value that is not allowed or too long, or too many of them.
    """
    faults = list(_label_faults(labels))
    if faults:
        raise from_faults(faults, hint="labels: {team: payments, example.com/tier: gold}")
    size = sum(len(name) + len(value.encode()) for name, value in labels.items())
    if size > MAX_LABELS_BYTES:
        raise InvalidInput.for_field(
            "labels",
            f"all together have {size} bytes; the limit is {MAX_LABELS_BYTES}",
            hint="keep long texts in a file of the artifact",
        )


def _label_faults(labels: Mapping[str, str]) -> Iterator[FieldFault]:
    for name, value in labels.items():
        field = f"labels.{name[:80]}"
        if name.startswith(PLATFORM_PREFIXES):
            yield FieldFault(field, "set by the platform")
        elif not LABEL_NAME.fullmatch(name):
            yield FieldFault(field, "must be letters, digits and ._/:@+- (at most 128)")
        elif len(value.encode()) > MAX_LABEL_BYTES:
            yield FieldFault(field, f"must have at most {MAX_LABEL_BYTES} bytes")
        elif _CONTROL.search(value):
            yield FieldFault(field, "must not hold control characters")


def _standard(bake: ResolvedBake) -> dict[str, str]:
    """The names that the OCI image specification gives."""
    spec, base = bake.spec, bake.base
    known = {
        "title": spec.name,
        "version": spec.version,
        "created": rfc3339(base.created_epoch),
        "ref.name": f"{bake.repository}:{version_tag(spec.version)}",
        "revision": spec.build.commit,
        "url": spec.build.url,
        "vendor": spec.owner,
        "authors": spec.owner,
        "base.name": f"{base.repository}:{version_tag(base.version)}",
        "base.digest": base.digest,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in known.items()}


def _build(spec: BakeSpec) -> dict[str, str]:
    """Whose it is, and where its artifacts came from."""
    build = spec.build
    return {
        "fleetwide.kind": "workload",
        "fleetwide.appversion": appversion(spec),
        "fleetwide.owner": spec.owner,
        "fleetwide.build.job": build.job,
        "fleetwide.build.number": build.number,
        "fleetwide.build.host": build.host,
        "fleetwide.build.url": build.url,
    }


def _content(bake: ResolvedBake) -> dict[str, str]:
    """What it is made of."""
    spec, base = bake.spec, bake.base
    return {
        "fleetwide.bake.key": bake.bake_key,
        "fleetwide.bake.content-key": bake.content_key,
        "fleetwide.bake.artifacts": " ".join(
            f"{one.type}:sha256:{one.sha256}" for one in spec.artifacts
        ),
        "fleetwide.bake.dependencies": str(len(bake.dependencies)),
        "fleetwide.bake.recipe": bake.recipe.reference if bake.recipe else "",
        "fleetwide.os.release": f"{base.name}:{base.version}",
        "fleetwide.os.distribution": base.distribution,
        "fleetwide.os.suite": base.suite,
        "fleetwide.os.digest": base.digest,
        "fleetwide.init": "tini" if spec.init else "",
        "fleetwide.volumes": _listed(spec.volumes),
    }


def _listed(paths: Sequence[str]) -> str:
    """Paths may hold any sign that could stand between them, so they are a JSON list.

    The config has them all; a list that is too long for a label is left to it.
    """
    text = canonical_json(sorted(set(paths))).decode() if paths else ""
    return text if len(text.encode()) <= MAX_LABEL_BYTES else ""


def baked_image(
    bake: ResolvedBake,
    below: BaseContent,
    layer: Layer,
    env: Mapping[str, str],
    metadata: Mapping[str, str],
) -> ImageDocuments:
    """The documents of a bake: the base's layers, then its own.

    ``env`` is the whole environment, with the platform's defaults.
    """
    spec, base = bake.spec, bake.base
    kinds = ", ".join(sorted({artifact.type.value for artifact in spec.artifacts}))
    return build_image(
        ImageParts(
            architecture=base.architecture,
            epoch=base.created_epoch,
            layers=[*below.layers, layer],
            history=[*below.history, HistoryStep(f"Bake {spec.name} {spec.version}", kinds)],
            run=RunConfig(
                env=env,
                entrypoint=[*INIT, *spec.entrypoint] if spec.init else spec.entrypoint,
                command=spec.command,
                user=spec.user,
                workdir=spec.workdir,
                ports=sorted(set(spec.ports)),
                volumes=sorted(set(spec.volumes)),
                healthcheck=spec.healthcheck,
                labels=metadata,
            ),
            annotations=metadata,
        )
    )

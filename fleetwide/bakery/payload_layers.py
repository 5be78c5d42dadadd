"""Which layers an OCI image brings as a payload, told by its documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetwide.errors import ArtifactRejected, WrongArchitecture
from fleetwide.models.bakery import MAX_ARTIFACT_BYTES
from fleetwide.registry.oci import DOCKER_LIST_TYPE, INDEX_TYPE

MAX_LAYERS = 127
MAX_CONFIG_BYTES = 4 * 1024 * 1024
# Endings of media types, OCI's and Docker's, that a layer may have here.
_READABLE = (".tar", ".tar+gzip", ".tar.gzip")


@dataclass(frozen=True)
class PayloadLayer:
    """One compressed layer of a payload image."""

    digest: str
    size: int


def is_index(media_type: str, document: Mapping[str, Any]) -> bool:
    """Whether a document lists the manifests of several machines."""
    return media_type in (INDEX_TYPE, DOCKER_LIST_TYPE) or "manifests" in document


def manifest_for(index: Mapping[str, Any], name: str, architecture: str) -> str:
    """The digest of the manifest for a base's machines.

    Raises:
        WrongArchitecture: the index has none.
    """
    found = {
        str(one.get("platform", {}).get("architecture")): str(one["digest"])
        for one in index.get("manifests", [])
        if one.get("platform", {}).get("os") == "linux"
    }
    if architecture not in found:
        raise WrongArchitecture(
            f"the image {name} is built for {', '.join(sorted(found)) or 'nothing'}, "
            f"the base is {architecture}"
        )
    return found[architecture]


def config_digest(manifest: Mapping[str, Any], name: str) -> str:
    """The digest of an image's config.

    Raises:
        ArtifactRejected: the manifest is not one of an image.
    """
    config = manifest.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("size"), int):
        raise ArtifactRejected(f"{name} is no image: its manifest names no config")
    if config["size"] > MAX_CONFIG_BYTES:
        raise ArtifactRejected(f"{name}: its config has {config['size']} bytes")
    return str(config["digest"])


def check_config(config: Mapping[str, Any], name: str, architecture: str) -> None:
    """Refuse an image for other machines.

    Raises:
        WrongArchitecture: it is not for ``architecture``, Debian's and OCI's name of it.
    """
    built_for = (config.get("os", "linux"), config.get("architecture"))
    if built_for != ("linux", architecture):
        raise WrongArchitecture(
            f"the image {name} is built for {built_for[0]}/{built_for[1]}, "
            f"the base is linux/{architecture}"
        )


def payload_layers(manifest: Mapping[str, Any], name: str) -> list[PayloadLayer]:
    """The layers from the lowest up.

    Raises:
        ArtifactRejected: there is none, one cannot be read here, or they are too many or too large.
    """
    layers = []
    for layer in manifest.get("layers", []):
        media_type = str(layer.get("mediaType", ""))
        if not media_type.endswith(_READABLE):
            raise ArtifactRejected(
                f"{name}: a layer is of the type {media_type}, which cannot be unpacked",
                hint="push the image with layers compressed by gzip",
            )
        layers.append(PayloadLayer(str(layer["digest"]), int(layer["size"])))
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise ArtifactRejected(f"{name} has {len(layers)} layers; 1 to {MAX_LAYERS} will do")
    total = sum(layer.size for layer in layers)
    if total > MAX_ARTIFACT_BYTES:
        raise ArtifactRejected(f"{name} has {total} bytes; the limit is {MAX_ARTIFACT_BYTES}")
    return layers

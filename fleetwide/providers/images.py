"""Images into the registry: layers that lie there already, a config, a manifest under a tag."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetwide.bakery.images import BaseContent, bake_metadata, baked_image, base_content
from fleetwide.baseos.images import base_image
from fleetwide.errors import PlatformError, RegistryUnavailable
from fleetwide.models.bakes import BaseImage, PushedBake, ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.progress import Progress
from fleetwide.registry.oci import MANIFEST_TYPE, ImageDocuments
from fleetwide.registry.references import ImageReference, version_tag


@dataclass(frozen=True)
class PushedImage:
    """An image in the registry: its digest, and the compressed bytes of all layers."""

    digest: str
    size: int


def push_base_image(client: RegistryClient, locked: LockedPlan, layer: Layer) -> PushedImage:
    """Tag a release's container base image; its layer lies in the registry already."""
    plan = locked.plan
    return _push_documents(client, plan.repository, plan.tag, base_image(locked, layer))


def upload_layer(
    client: RegistryClient, repository: str, path: Path, layer: Layer, progress: Progress
) -> None:
    """Send a bake's own layer from the file ``path``, unless the repository has it.

    Raises:
        RegistryUnavailable: the registry did not answer, or the file holds other bytes.
    """
    client.upload_blob(repository, path, layer.digest, progress)


def push_bake(
    client: RegistryClient,
    bake: ResolvedBake,
    layer: Layer,
    env: Mapping[str, str],
    sbom_digest: str,
    sent: Callable[[], object] = lambda: None,
) -> PushedBake:
    """Push a baked image under its version's tag; no layer is sent.

    The bake's own layer lies in its repository once ``sent`` returns, or in that of the bake that
    it was taken from; the base's are mounted. Done twice it is done once, and the same inputs have
    the same digest.

    Raises:
        InvalidInput: the labels are not allowed.
        PlatformError: a layer is not in the registry any more.
        RegistryUnavailable: it did not answer, or somebody moved the tag meanwhile.
    """
    metadata = bake_metadata(bake, sbom_digest)
    below = _read_base(client, bake.base)
    for one in below.layers:
        _mount(client, bake.repository, one, bake.base.repository)
    sent()
    _mount(client, bake.repository, layer, _home_of(bake))
    documents = baked_image(bake, below, layer, env, metadata)
    pushed = _push_documents(client, bake.repository, version_tag(bake.spec.version), documents)
    return PushedBake(digest=pushed.digest, size=pushed.size, metadata=metadata)


def _read_base(client: RegistryClient, base: BaseImage) -> BaseContent:
    manifest = client.get_manifest(ImageReference(base.repository, digest=base.digest)).json()
    config = client.get_blob_json(base.repository, manifest["config"]["digest"])
    return base_content(manifest, config)


def _home_of(bake: ResolvedBake) -> str:
    """The repository that the bake's own layer was pushed to first."""
    return bake.reusable.repository if bake.reusable else bake.repository


def _mount(client: RegistryClient, repository: str, layer: Layer, home: str) -> None:
    """Make a layer that lies in ``home`` one of ``repository``, unless it is."""
    if client.blob_exists(repository, layer.digest):
        return
    if home == repository or not client.mount_blob(repository, layer.digest, home):
        raise PlatformError(f"the registry lost the layer {layer.digest} of {home}")


def _push_documents(
    client: RegistryClient, repository: str, tag: str, documents: ImageDocuments
) -> PushedImage:
    client.upload_blob(repository, documents.config, documents.config_digest)
    reference = ImageReference(repository, tag=tag)
    client.put_manifest(reference, documents.manifest, MANIFEST_TYPE)
    found = client.get_manifest(reference)
    if found.digest != documents.digest:
        raise RegistryUnavailable(
            f"{reference} is {found.digest} after {documents.digest} was pushed: "
            "somebody else pushes under the same tag"
        )
    return PushedImage(documents.digest, documents.size)

"""Images into the registry: layers that lie there already, a config, a manifest under a tag."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetwide.bakery.images import BaseContent, bake_metadata, baked_image, base_content
from fleetwide.baseos.images import base_image
from fleetwide.errors import PlatformError, RegistryUnavailable
from fleetwide.models.bakes import BaseImage, PushedBake, ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers.distribution import WHOLE_BYTES, RegistryClient, chunks_of
from fleetwide.providers.progress import Progress
from fleetwide.registry.oci import MANIFEST_TYPE, ImageDocuments
from fleetwide.registry.references import ImageReference, version_tag
from fleetwide.registry.referrers import Subject


@dataclass(frozen=True)
class PushedImage:
    """An image in the registry: its digest, and the compressed bytes of all layers."""

    digest: str
    size: int


def push_base_image(client: RegistryClient, locked: LockedPlan, layer: Layer) -> PushedImage:
    """Tag a release's container base image; its layer lies in the registry already."""
    plan = locked.plan
    documents = base_image(locked, layer)
    client.upload_blob(plan.repository, documents.config, documents.config_digest)
    return _push_manifest(client, ImageReference(plan.repository, tag=plan.tag), documents)


@dataclass(frozen=True)
class PlannedImage:
    """A baked image before any of it is sent: its digest is known already."""

    bake: ResolvedBake
    layer: Layer
    below: BaseContent
    documents: ImageDocuments
    metadata: dict[str, str]

    @property
    def subject(self) -> Subject:
        """What documents about the image refer to."""
        documents = self.documents
        return Subject(MANIFEST_TYPE, documents.digest, len(documents.manifest))


def plan_image(
    client: RegistryClient,
    bake: ResolvedBake,
    layer: Layer,
    env: Mapping[str, str],
    sbom_digest: str,
) -> PlannedImage:
    """The image of a bake on its base; the same inputs have the same digest.

    Raises:
        ImageNotFound, NotFound: the base is not in the registry any more.
        InvalidInput: the labels are not allowed.
        RegistryUnavailable: it did not answer.
    """
    metadata = bake_metadata(bake, sbom_digest)
    below = _read_base(client, bake.base)
    documents = baked_image(bake, below, layer, env, metadata)
    return PlannedImage(bake, layer, below, documents, metadata)


def upload_layer(
    client: RegistryClient,
    repository: str,
    read: Callable[[int], bytes],
    layer: Layer,
    progress: Progress,
) -> None:
    """Send a bake's own layer, which the repository lacks, as ``read`` gives so many bytes of it.

    Raises:
        RegistryUnavailable: the registry did not answer, or the bytes are others.
    """
    if layer.size <= WHOLE_BYTES:
        client.upload_blob(repository, read(WHOLE_BYTES), layer.digest, progress)
    else:
        client.send_blob(repository, chunks_of(read, layer.size), layer.digest, progress)


def push_image(
    client: RegistryClient, planned: PlannedImage, sent: Callable[[], bool] = lambda: False
) -> PushedBake:
    """Push a baked image under its version's tag; no layer is sent. Done twice it is done once.

    The bake's own layer lies in its repository once ``sent`` says so; else it is looked for there,
    or mounted from that of the bake that it was taken from. The base's are mounted.

    Raises:
        PlatformError: a layer is not in the registry any more.
        RegistryUnavailable: it did not answer, or somebody moved the tag meanwhile.
    """
    bake, documents = planned.bake, planned.documents
    for one in planned.below.layers:
        _mount(client, bake.repository, one, bake.base.repository)
    client.upload_blob(bake.repository, documents.config, documents.config_digest)
    if not sent():
        _mount(client, bake.repository, planned.layer, _home_of(bake))
    reference = ImageReference(bake.repository, tag=version_tag(bake.spec.version))
    pushed = _push_manifest(client, reference, documents)
    return PushedBake(digest=pushed.digest, size=pushed.size, metadata=planned.metadata)


def _read_base(client: RegistryClient, base: BaseImage) -> BaseContent:
    manifest = client.get_manifest(ImageReference(base.repository, digest=base.digest)).json()
    config = client.get_blob_json(base.repository, manifest["config"]["digest"])
    return base_content(manifest, config)


def _home_of(bake: ResolvedBake) -> str:
    """The repository that the bake's own layer was pushed to first."""
    return bake.reusable.repository if bake.reusable else bake.repository


def _mount(client: RegistryClient, repository: str, layer: Layer, home: str) -> None:
    """Make a layer that lies in ``home`` one of ``repository``, unless it is."""
    if home != repository and client.mount_blob(repository, layer.digest, home):
        return
    if not client.blob_exists(repository, layer.digest):
        raise PlatformError(f"the registry lost the layer {layer.digest} of {home}")


def _push_manifest(
    client: RegistryClient, reference: ImageReference, documents: ImageDocuments
) -> PushedImage:
    client.put_manifest(reference, documents.manifest, MANIFEST_TYPE)
    found = client.resolve(reference)
    if found != documents.digest:
        raise RegistryUnavailable(
            f"{reference} is {found} after {documents.digest} was pushed: "
            "somebody else pushes under the same tag"
        )
    return PushedImage(documents.digest, documents.size)

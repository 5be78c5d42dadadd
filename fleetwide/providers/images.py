"""From artifacts to a layer, and from layers to an image in the registry."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetwide.bakery.images import baked_image
from fleetwide.baseos.images import base_image
from fleetwide.errors import PlatformError
from fleetwide.models.bakery import ArtifactType, BaseImage, ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers.compress import Compressed, compress_layer
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.layers import LayerEntry, plain_entries, write_layer
from fleetwide.providers.overlay import changed_entries, install_debs
from fleetwide.providers.progress import Progress, no_progress, span
from fleetwide.providers.tarballs import unpack_tarball
from fleetwide.providers.wheels import NamedFile, install_wheels, python_of
from fleetwide.registry.oci import MANIFEST_TYPE, ImageDocuments
from fleetwide.registry.references import ImageReference, version_tag

BaseRootfs = Callable[[BaseImage, Progress], Path]
"""Answers the unpacked root file system of a base: ``BaseCache.rootfs``."""


@dataclass(frozen=True)
class LayerInputs:
    """What a bake's layer is made of; ``artifacts`` are fetched files in the spec's order."""

    bake: ResolvedBake
    artifacts: Sequence[Path]
    base_rootfs: BaseRootfs


@dataclass(frozen=True)
class PushedImage:
    """An image in the registry: its digest, and the compressed bytes of all layers."""

    digest: str
    size: int


def build_layer(inputs: LayerInputs, workdir: Path, progress: Progress) -> Compressed:
    """Turn the artifacts into a compressed layer file in ``workdir``.

    ``workdir`` belongs to this bake alone and is emptied first; the caller removes it after the
    push. The same inputs give the same bytes. Raises ``ArtifactRejected`` when the artifact cannot
    be used, and whatever ``progress`` raises (that cancels the build).
    """
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    kind = inputs.bake.spec.artifacts[0].type
    try:
        entries = _MAKERS[kind](inputs, workdir, span(progress, 0.0, 0.7))
        tar = workdir / "layer.tar"
        write_layer(entries, tar, span(progress, 0.7, 0.8))
        packed = compress_layer(tar, workdir / "layer.tar.gz", span(progress, 0.8, 1.0))
        tar.unlink()
    except BaseException:
        shutil.rmtree(workdir, ignore_errors=True)
        raise
    return packed


def _from_tarball(inputs: LayerInputs, workdir: Path, progress: Progress) -> list[LayerEntry]:
    staging = workdir / "staging"
    spec = inputs.bake.spec
    name = spec.artifacts[0].filename
    unpack_tarball(inputs.artifacts[0], name, staging, f"/opt/{spec.name}", progress)
    return plain_entries(staging, inputs.bake.base.created_epoch)


def _from_wheels(inputs: LayerInputs, workdir: Path, progress: Progress) -> list[LayerEntry]:
    staging = workdir / "staging"
    staging.mkdir()
    base = inputs.bake.base
    python = python_of(inputs.base_rootfs(base, progress), base.architecture)
    named = [
        NamedFile(path, artifact.filename)
        for path, artifact in zip(inputs.artifacts, inputs.bake.spec.artifacts, strict=True)
    ]
    install_wheels(named, python, staging, progress)
    return plain_entries(staging, base.created_epoch)


def _from_debs(inputs: LayerInputs, workdir: Path, progress: Progress) -> list[LayerEntry]:
    base = inputs.bake.base
    below = inputs.base_rootfs(base, progress)
    started = time.time()
    install_debs(inputs.artifacts, below, workdir / "overlay", progress)
    return changed_entries(workdir / "overlay/upper", below, base.created_epoch, started)


_MAKERS: dict[ArtifactType, Callable[[LayerInputs, Path, Progress], list[LayerEntry]]] = {
    ArtifactType.TARBALL: _from_tarball,
    ArtifactType.WHEEL: _from_wheels,
    ArtifactType.DEB: _from_debs,
}


def push_base_image(client: RegistryClient, locked: LockedPlan, layer: Layer) -> PushedImage:
    """Tag a release's container base image; its layer lies in the registry already."""
    plan = locked.plan
    return _push_documents(client, plan.repository, plan.tag, base_image(locked, layer))


def push_image(
    client: RegistryClient,
    bake: ResolvedBake,
    packed: Compressed,
    progress: Progress = no_progress,
) -> PushedImage:
    """Push a baked image under its version's tag; the base's layer is mounted, never sent."""
    base, repository = bake.base, bake.repository
    _mount_base(client, bake)
    client.upload_blob(repository, packed.path, packed.layer.digest, progress)
    manifest = client.get_manifest(ImageReference(base.repository, digest=base.digest)).json()
    config = client.get_blob_json(base.repository, manifest["config"]["digest"])
    documents = baked_image(bake, packed.layer, config.get("history", []))
    return _push_documents(client, repository, version_tag(bake.spec.version), documents)


def _mount_base(client: RegistryClient, bake: ResolvedBake) -> None:
    base, digest = bake.base, bake.base.layer.digest
    if client.blob_exists(bake.repository, digest):
        return
    if not client.mount_blob(bake.repository, digest, base.repository):
        raise PlatformError(f"the registry lost the layer {digest} of {base.repository}")


def _push_documents(
    client: RegistryClient, repository: str, tag: str, documents: ImageDocuments
) -> PushedImage:
    client.upload_blob(repository, documents.config, documents.config_digest)
    reference = ImageReference(repository, tag=tag)
    client.put_manifest(reference, documents.manifest, MANIFEST_TYPE)
    return PushedImage(documents.digest, documents.size)

"""Small bases and layers for tests of manifests; nothing of them can run."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fleetwide.models.bakes import BaseImage
from fleetwide.providers.compress import Compressed, compress_layer
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import upload_layer
from fleetwide.providers.layers import plain_entries, write_layer
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.registry.oci import (
    MANIFEST_TYPE,
    HistoryStep,
    ImageParts,
    RunConfig,
    build_image,
)
from fleetwide.registry.references import ImageReference

EPOCH = 1_795_305_600


def layer_of(folder: Path, files: Mapping[str, bytes]) -> Compressed:
    """A layer of these files, written into the new ``folder``."""
    for path, content in files.items():
        file = folder / "tree" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    write_layer(plain_entries(folder / "tree", EPOCH), folder / "layer.tar", no_progress)
    return compress_layer(folder / "layer.tar", folder / "layer.tar.gz", no_progress)


def send_layer(client: RegistryClient, repository: str, packed: Compressed) -> None:
    """Bring a layer into a repository as a bake does."""
    with packed.path.open("rb") as reader:
        upload_layer(client, repository, reader.read, packed.layer, no_progress)


def push_base(
    client: RegistryClient, folder: Path, version: str, repository: str = "baseos/small"
) -> BaseImage:
    """A base of two layers, with a step in its history that made none."""
    packed = [
        layer_of(folder / f"{version}-{number}", {f"etc/{number}": version.encode() * 99})
        for number in range(2)
    ]
    steps = [HistoryStep("lower"), HistoryStep("upper"), HistoryStep("labels", has_layer=False)]
    layers = [one.layer for one in packed]
    epoch = EPOCH + int(version)
    image = build_image(ImageParts("amd64", epoch, layers, steps, RunConfig(command=["/bin/sh"])))
    for one in packed:
        client.upload_blob(repository, one.path, one.layer.digest)
    client.upload_blob(repository, image.config, image.config_digest)
    client.put_manifest(ImageReference(repository, version), image.manifest, MANIFEST_TYPE)
    return BaseImage(
        name="small",
        version=version,
        repository=repository,
        digest=image.digest,
        layer=layers[0],
        distribution="debian",
        suite="bookworm",
        architecture="amd64",
        created_epoch=epoch,
    )


@contextmanager
def noted_uploads(client: RegistryClient) -> Iterator[tuple[RegistryClient, list[str]]]:
    """A client of the same registry, and the digests of the blobs that it is asked to send."""
    sent: list[str] = []

    class Noting(RegistryClient):
        def upload_blob(
            self,
            repository: str,
            source: Path | bytes,
            digest: str,
            progress: Progress = no_progress,
        ) -> None:
            sent.append(digest)
            super().upload_blob(repository, source, digest, progress)

    with Noting(client.base_url) as noting:
        yield noting, sent


def served(client: RegistryClient, repository: str, digest: str) -> bytes:
    """A blob's bytes as the registry has them, checked against the digest."""
    with client.stream_blob(repository, digest) as pieces:
        data = b"".join(pieces)
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    return data

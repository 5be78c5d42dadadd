"""Copies of blobs and manifests from one registry to another, for worker threads."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fleetwide.errors import ImageNotFound, RegistryUnavailable
from fleetwide.models.registry_regions import Blob
from fleetwide.providers.distribution import CHUNK_BYTES, RegistryClient
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.registry.references import ImageReference


@dataclass(frozen=True)
class Place:
    """A repository at a registry."""

    registry: RegistryClient
    repository: str

    def has_manifest(self, digest: str) -> bool:
        return self.meaning(ImageReference(self.repository, digest=digest)) is not None

    def tag(self, name: str) -> str | None:
        """The digest that a tag means there; None for no such tag."""
        return self.meaning(ImageReference(self.repository, tag=name))

    def meaning(self, reference: ImageReference) -> str | None:
        try:
            return self.registry.resolve(reference)
        except ImageNotFound:
            return None

    def has_blob(self, digest: str) -> bool:
        return self.registry.blob_exists(self.repository, digest)

    def mount(self, blob: Blob) -> bool:
        """Take the blob from another repository there; False when that is declined."""
        assert blob.mount_from is not None
        return self.registry.mount_blob(self.repository, blob.digest, blob.mount_from)

    def put(self, selector: ImageReference, data: bytes, media_type: str) -> None:
        self.registry.put_manifest(selector, data, media_type)


def copy_blob(source: Place, target: Place, blob: Blob, progress: Progress = no_progress) -> int:
    """Let the target have the blob; the bytes that had to travel.

    At most two chunks are in memory at a time. What does not match the digest is not kept there.

    Raises:
        NotFound: the source does not have it.
        RegistryUnavailable: one of the two does not answer, or the source sends other bytes.
    """
    if target.has_blob(blob.digest):
        return 0
    if blob.mount_from not in (None, target.repository) and target.mount(blob):
        return 0
    with source.registry.stream_blob(source.repository, blob.digest) as pieces:
        chunks = checked_chunks(pieces, blob)
        target.registry.send_blob(target.repository, chunks, blob.digest, progress)
    return blob.size


def checked_chunks(pieces: Iterable[bytes], blob: Blob) -> Iterator[tuple[bytes, float]]:
    """The bytes in chunks with the fraction before each; they must be those of the digest.

    Raises:
        RegistryUnavailable: they are more, fewer or others; raised before the last chunk is used.
    """
    hasher, size, chunk = hashlib.sha256(), 0, bytearray()
    for piece in pieces:
        hasher.update(piece)
        size += len(piece)
        chunk += piece
        if size > blob.size:
            break
        while len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk[:CHUNK_BYTES]), (size - len(chunk)) / max(blob.size, 1)
            del chunk[:CHUNK_BYTES]
    found = f"sha256:{hasher.hexdigest()}"
    if size != blob.size or found != blob.digest:
        raise RegistryUnavailable(
            f"the registry sent {size} bytes of {found} for blob {blob.digest} of {blob.size} bytes"
        )
    if chunk:
        yield bytes(chunk), (size - len(chunk)) / max(size, 1)

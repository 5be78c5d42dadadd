"""Block manifests of releases' disks in the object store: a child snapshot needs its parent's."""

from fleetwide.baseos.snapshot_blocks import BlockManifest, decode_manifest, encode_manifest
from fleetwide.errors import NotFound
from fleetwide.models.base import Digest
from fleetwide.providers.objects import ObjectStore
from fleetwide.registry.digests import hex_of


def manifest_key(disk_digest: Digest) -> str:
    """Where the digests of a disk's blocks lie in the object store."""
    return f"baseos/disks/{hex_of(disk_digest)}.blocks.json"


def keep_manifest(objects: ObjectStore, disk_digest: Digest, manifest: BlockManifest) -> None:
    """Store the manifest of a disk whose snapshot is complete."""
    objects.put_bytes(manifest_key(disk_digest), encode_manifest(manifest))


def kept_manifest(objects: ObjectStore, disk_digest: Digest) -> BlockManifest | None:
    """The manifest of a disk that was uploaded; None when it is not known."""
    try:
        return decode_manifest(objects.get_bytes(manifest_key(disk_digest)))
    except NotFound:
        return None

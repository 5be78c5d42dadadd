"""The blocks of an EBS snapshot: a disk's manifest, and what of it must be sent; no I/O.

A snapshot is written in blocks of 512 KiB. One that was never written reads as zeros, or as the
parent snapshot's block where there is a parent.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.base import Record, Sha256

BLOCK_BYTES = 512 * 1024
BLOCKS_PER_GIB = 1024**3 // BLOCK_BYTES
MANIFEST_FORMAT = 1
ZEROS = bytes(BLOCK_BYTES)
ZEROS_SHA256 = hashlib.sha256(ZEROS).hexdigest()


class BlockManifest(Record):
    """The SHA-256 of every block of a disk that is not all zero, the last one padded."""

    format: int = MANIFEST_FORMAT
    disk_bytes: Annotated[int, Field(gt=0)]
    blocks: dict[int, Sha256]

    @property
    def volume_gib(self) -> int:
        """Size of the volume that holds the disk: whole GiB."""
        return -(-self.disk_bytes // 1024**3)

    def sha256_of(self, index: int) -> str:
        """The hash of any block, also of one that is all zero."""
        return self.blocks.get(index, ZEROS_SHA256)


def encode_manifest(manifest: BlockManifest) -> bytes:
    """The manifest as a document to keep: the parent's is needed to send a child."""
    return manifest.model_dump_json().encode()


def decode_manifest(data: bytes) -> BlockManifest:
    """The manifest from its document; ``InvalidInput`` when it is none."""
    try:
        return BlockManifest.model_validate_json(data)
    except ValidationError as error:
        raise InvalidInput.for_field("manifest", "is not a block manifest") from error


def blocks_to_send(disk: BlockManifest, parent: BlockManifest | None = None) -> list[int]:
    """The blocks, in order, that turn the parent (or zeros) into ``disk``.

    A block that became all zero is among them: left out, it would show the parent's bytes.
    Raises ``InvalidInput`` when the parent's volume is larger, since EBS cannot shrink one.
    """
    before = parent.blocks if parent else {}
    if parent and parent.volume_gib > disk.volume_gib:
        raise InvalidInput.for_field(
            "parent",
            f"its volume has {parent.volume_gib} GiB, the disk needs only {disk.volume_gib}",
            hint="upload it without a parent",
        )
    union = sorted(disk.blocks.keys() | before.keys())
    return [index for index in union if disk.blocks.get(index) != before.get(index)]


def block_checksum(sha256: str) -> str:
    """A block's hash as PutSnapshotBlock takes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def linear_checksum(sha256s: Iterable[str]) -> str:
    """EBS's LINEAR aggregate: the hash over the blocks' hashes in the order of their indexes."""
    return block_checksum(hashlib.sha256(bytes.fromhex("".join(sha256s))).hexdigest())

"""Reads raw disk files in blocks of a snapshot, without touching their holes."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES, ZEROS, BlockManifest
from fleetwide.errors import InvalidInput
from fleetwide.providers.progress import Progress, Throttled


class SparseDisk:
    """An open raw disk; safe to read from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def stored_blocks(self) -> Iterator[int]:
        """Indexes, in order, of the blocks that are not wholly a hole of the file."""
        position = 0
        while position < self.size:
            try:
                start = os.lseek(self._descriptor, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                raise
            end = os.lseek(self._descriptor, start, os.SEEK_HOLE)
            first, beyond = start // BLOCK_BYTES, -(-end // BLOCK_BYTES)
            yield from range(first, beyond)
            position = beyond * BLOCK_BYTES

    def block(self, index: int) -> bytes:
        """A whole block; what lies beyond the end of the file is zeros."""
        data = os.pread(self._descriptor, BLOCK_BYTES, index * BLOCK_BYTES)
        return data.ljust(BLOCK_BYTES, b"\0")

    def manifest(self, progress: Progress) -> BlockManifest:
        """Read the whole disk once; memory holds one block at a time."""
        throttled = Throttled(progress)
        blocks = {}
        for index in self.stored_blocks():
            throttled("reading the disk", index * BLOCK_BYTES / self.size)
            data = self.block(index)
            if data != ZEROS:
                blocks[index] = hashlib.sha256(data).hexdigest()
        return BlockManifest(disk_bytes=self.size, blocks=blocks)


@dataclass(frozen=True)
class Comparison:
    """What one look at two disks tells about the second."""

    used_blocks: int
    """Blocks of it that are not all zero."""
    changed_blocks: int
    """Blocks in which it differs from the first; what one of them lacks is zeros."""


def compare_disks(before: SparseDisk, after: SparseDisk, progress: Progress) -> Comparison:
    """Read both disks once, without their holes; memory holds one block of each."""
    throttled = Throttled(progress)
    used = changed = 0
    for index in sorted({*before.stored_blocks(), *after.stored_blocks()}):
        throttled("comparing the disks", index * BLOCK_BYTES / max(before.size, after.size))
        block = after.block(index)
        used += block != ZEROS
        changed += block != before.block(index)
    return Comparison(used, changed)


@contextmanager
def open_disk(path: Path) -> Iterator[SparseDisk]:
    """The disk at ``path``; ``InvalidInput`` when there is no file with bytes in it."""
    if not path.is_file() or path.stat().st_size == 0:
        raise InvalidInput.for_field("disk", "is not a raw disk file", given=str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield SparseDisk(descriptor)
    finally:
        os.close(descriptor)

"""Deterministic gzip on all cores, with the digests of both sides in one pass.

The input is cut into blocks that are compressed side by side, each with the end of the block
before it as its dictionary, and joined into one ordinary gzip member. The bytes depend only on the
input: not on the number of cores, the clock or the file's name.
"""

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fleetwide.models.base import Layer
from fleetwide.providers.progress import Progress, Throttled

LEVEL = 6
BLOCK_BYTES = 1024 * 1024
WINDOW_BYTES = 32 * 1024
# Magic, deflate, no flags, no time, no level hint, unknown operating system.
HEADER = b"\x1f\x8b\x08\x00" + b"\0\0\0\0" + b"\x00\xff"
EMPTY_LAST_BLOCK = b"\x03\x00"


@dataclass(frozen=True)
class Compressed:
    """A compressed layer file, described."""

    path: Path
    layer: Layer
    uncompressed_size: int


def compress_layer(
    source: Path, target: Path, progress: Progress, *, level: int = LEVEL
) -> Compressed:
    """Gzip the tar ``source`` into ``target``; see the module for what is guaranteed."""
    told = Throttled(progress)
    total = max(source.stat().st_size, 1)
    with source.open("rb") as reader, target.open("wb") as writer:
        gzip = _GzipWriter(writer)
        for block, compressed in _compressed_blocks(reader, level):
            gzip.add(block, compressed)
            told("compressing", gzip.taken / total)
        layer = gzip.finish()
    return Compressed(target, layer, gzip.taken)


class _GzipWriter:
    def __init__(self, writer: BinaryIO) -> None:
        self._writer = writer
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0
        self._crc = 0
        self.taken = 0
        self._write(HEADER)

    def add(self, block: bytes, compressed: bytes) -> None:
        self._plain.update(block)
        self._crc = zlib.crc32(block, self._crc)
        self.taken += len(block)
        self._write(compressed)

    def finish(self) -> Layer:
        length = self.taken & 0xFFFFFFFF
        self._write(
            EMPTY_LAST_BLOCK + self._crc.to_bytes(4, "little") + length.to_bytes(4, "little")
        )
        return Layer(
            digest=f"sha256:{self._packed.hexdigest()}",
            diff_id=f"sha256:{self._plain.hexdigest()}",
            size=self._size,
        )

    def _write(self, data: bytes) -> None:
        self._writer.write(data)
        self._packed.update(data)
        self._size += len(data)


def _compressed_blocks(reader: BinaryIO, level: int) -> Iterator[tuple[bytes, bytes]]:
    """Each block of the input with its compressed form, in order."""
    workers = os.cpu_count() or 1
    waiting: deque[tuple[bytes, Future[bytes]]] = deque()
    dictionary = b""
    with ThreadPoolExecutor(workers, thread_name_prefix="gzip") as pool:
        while block := reader.read(BLOCK_BYTES):
            waiting.append((block, pool.submit(_deflate, block, dictionary, level)))
            dictionary = block[-WINDOW_BYTES:]
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _deflate(block: bytes, dictionary: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)

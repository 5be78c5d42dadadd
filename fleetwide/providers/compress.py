"""Deterministic gzip on all cores, with the digests of both sides in one pass.

The input is cut into blocks that are compressed side by side, each with the end of the block
before it as its dictionary, and joined into one ordinary gzip member. The bytes depend only on the
input: not on the number of cores, the clock or the file's name.
"""

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fleetwide.models.base import Layer
from fleetwide.providers.progress import Progress, Throttled

LEVEL = 6
FAST_LEVEL = 1
# Where finding repetitions saves less than this of the bytes, it is not worth its time.
WORTHWHILE = 0.05
BLOCK_BYTES = 1024 * 1024
WINDOW_BYTES = 32 * 1024
# Magic, deflate, no flags, no time, no level hint, unknown operating system.
HEADER = b"\x1f\x8b\x08\x00" + b"\0\0\0\0" + b"\x00\xff"
EMPTY_LAST_BLOCK = b"\x03\x00"

Deflate = Callable[[bytes, bytes], bytes]
"""Compresses a block; the second argument is what lies before it, as its dictionary."""


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
    deflate = partial(_deflate, level, zlib.Z_DEFAULT_STRATEGY)
    with source.open("rb") as reader, packing(target, deflate) as packer:
        while block := reader.read(BLOCK_BYTES):
            packer.write(block)
            told("compressing", packer.tell() / total)
        return Compressed(target, packer.finish(), packer.tell())


@contextmanager
def packing(target: Path, deflate: Deflate) -> Iterator["GzipPacker"]:
    """A packer into the file ``target``; it is complete after ``finish``."""
    workers = os.cpu_count() or 1
    with target.open("wb") as writer, ThreadPoolExecutor(workers, "gzip") as pool:
        yield GzipPacker(writer, pool, deflate, 2 * workers)


class GzipPacker:
    """What a tar is written into. At most ``waiting`` blocks are held in memory."""

    def __init__(
        self, writer: BinaryIO, pool: ThreadPoolExecutor, deflate: Deflate, waiting: int
    ) -> None:
        self._writer = writer
        self._pool = pool
        self._deflate = deflate
        self._limit = waiting
        self._waiting: deque[Future[bytes]] = deque()
        self._block = bytearray()
        self._before = b""
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0
        self._crc = 0
        self._taken = 0
        self._put(HEADER)

    def write(self, data: bytes) -> int:
        """Take more of the plain bytes."""
        self._taken += len(data)
        self._block += data
        while len(self._block) >= BLOCK_BYTES:
            self._submit(bytes(self._block[:BLOCK_BYTES]))
            del self._block[:BLOCK_BYTES]
        return len(data)

    def tell(self) -> int:
        """Plain bytes taken so far."""
        return self._taken

    def finish(self) -> Layer:
        """Write what is left; the layer as it lies in the file then."""
        if self._block:
            self._submit(bytes(self._block))
            self._block.clear()
        while self._waiting:
            self._put(self._waiting.popleft().result())
        length = self._taken & 0xFFFFFFFF
        self._put(EMPTY_LAST_BLOCK + self._crc.to_bytes(4, "little") + length.to_bytes(4, "little"))
        self._writer.flush()
        return Layer(
            digest=f"sha256:{self._packed.hexdigest()}",
            diff_id=f"sha256:{self._plain.hexdigest()}",
            size=self._size,
        )

    def _submit(self, block: bytes) -> None:
        self._waiting.append(self._pool.submit(self._deflate, block, self._before))
        self._before = block[-WINDOW_BYTES:]
        self._plain.update(block)
        self._crc = zlib.crc32(block, self._crc)
        if len(self._waiting) > self._limit:
            self._put(self._waiting.popleft().result())

    def _put(self, data: bytes) -> None:
        self._writer.write(data)
        self._packed.update(data)
        self._size += len(data)


def deflate_fast(block: bytes, before: bytes) -> bytes:
    """At the fastest level, and without looking for repetitions where a sample has hardly any.

    Much of what is deployed is packed already, or is letters that stand for random bytes.
    """
    middle = len(block) // 2
    around = block[max(middle - WINDOW_BYTES, 0) : middle]
    sample = block[middle : middle + WINDOW_BYTES]
    plain = len(_deflate(FAST_LEVEL, zlib.Z_HUFFMAN_ONLY, sample, around))
    repeating = len(_deflate(FAST_LEVEL, zlib.Z_DEFAULT_STRATEGY, sample, around))
    worth = repeating < plain * (1 - WORTHWHILE)
    strategy = zlib.Z_DEFAULT_STRATEGY if worth else zlib.Z_HUFFMAN_ONLY
    return _deflate(FAST_LEVEL, strategy, block, before)


def _deflate(level: int, strategy: int, block: bytes, before: bytes) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy, before)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)

"""Deterministic gzip on all cores, with the digests of both sides in one pass.

The input is cut into blocks that are compressed side by side. The bytes depend only on the input:
not on the number of cores, the clock or the file's name.
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
from typing import BinaryIO, Protocol

import deflate

from fleetwide.models.base import Layer
from fleetwide.providers.progress import Progress, Throttled

LEVEL = 6
FAST_LEVEL = 1
BLOCK_BYTES = 1024 * 1024
WINDOW_BYTES = 32 * 1024
# Magic, deflate, no flags, no time, no level hint, unknown operating system.
HEADER = b"\x1f\x8b\x08\x00" + b"\0\0\0\0" + b"\x00\xff"
EMPTY_LAST_BLOCK = b"\x03\x00"


class Form(Protocol):
    """How the blocks of one file become gzip."""

    def head(self) -> bytes:
        """What stands before the blocks."""
        ...

    def packed(self, block: bytes) -> Callable[[], bytes | bytearray]:
        """What packs the next block, in any thread."""
        ...

    def tail(self, size: int) -> bytes | bytearray:
        """What stands after the blocks, which have ``size`` bytes together."""
        ...


class OneMember:
    """One ordinary member by zlib; each block has the end of the one before as its dictionary."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._before = b""
        self._crc = 0

    def head(self) -> bytes:
        return HEADER

    def packed(self, block: bytes) -> Callable[[], bytes | bytearray]:
        pack = partial(_deflate, self._level, block, self._before)
        self._before = block[-WINDOW_BYTES:]
        self._crc = zlib.crc32(block, self._crc)
        return pack

    def tail(self, size: int) -> bytes | bytearray:
        length = size & 0xFFFFFFFF
        return EMPTY_LAST_BLOCK + self._crc.to_bytes(4, "little") + length.to_bytes(4, "little")


class FastMembers:
    """Every block a member of its own by libdeflate, which whatever reads gzip reads on through."""

    def head(self) -> bytes:
        return b""

    def packed(self, block: bytes) -> Callable[[], bytes | bytearray]:
        return partial(deflate.gzip_compress, block, FAST_LEVEL)

    def tail(self, size: int) -> bytes | bytearray:
        return b"" if size else self.packed(b"")()


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
    with source.open("rb") as reader, packing(target, OneMember(level)) as packer:
        while block := reader.read(BLOCK_BYTES):
            packer.write(block)
            told("compressing", packer.tell() / total)
        return Compressed(target, packer.finish(), packer.tell())


@contextmanager
def packing(target: Path, form: Form) -> Iterator["GzipPacker"]:
    """A packer into the file ``target``; it is complete after ``finish``."""
    workers = os.cpu_count() or 1
    with target.open("wb") as writer, ThreadPoolExecutor(workers, "gzip") as pool:
        yield GzipPacker(writer, pool, form, 2 * workers)


class GzipPacker:
    """What a tar is written into. At most ``waiting`` blocks are held in memory."""

    def __init__(
        self, writer: BinaryIO, pool: ThreadPoolExecutor, form: Form, waiting: int
    ) -> None:
        self._writer = writer
        self._pool = pool
        self._form = form
        self._limit = waiting
        self._waiting: deque[Future[bytes | bytearray]] = deque()
        self._block = bytearray()
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0
        self._taken = 0
        self._put(form.head())

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
        self._put(self._form.tail(self._taken))
        self._writer.flush()
        return Layer(
            digest=f"sha256:{self._packed.hexdigest()}",
            diff_id=f"sha256:{self._plain.hexdigest()}",
            size=self._size,
        )

    def _submit(self, block: bytes) -> None:
        self._waiting.append(self._pool.submit(self._form.packed(block)))
        self._plain.update(block)
        if len(self._waiting) > self._limit:
            self._put(self._waiting.popleft().result())

    def _put(self, data: bytes | bytearray) -> None:
        self._writer.write(data)
        self._packed.update(data)
        self._size += len(data)


def _deflate(level: int, block: bytes, before: bytes) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, before)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)

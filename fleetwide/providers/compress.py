"""Deterministic gzip on all cores, with the digests of both sides in one pass.

The input is cut into blocks that are compressed side by side. The bytes depend only on the input:
not on the number of cores, the clock or the file's name.
"""

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import deflate

from fleetwide.models.base import Layer
from fleetwide.providers.deflated import GZIP_HEADER
from fleetwide.providers.progress import Progress, Throttled

LEVEL = 6
FAST_LEVEL = 1
BLOCK_BYTES = 1024 * 1024
WINDOW_BYTES = 32 * 1024
# A shorter block is packed sooner than another thread has woken up for it.
_WORTH_A_THREAD = 32 * 1024
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
        return GZIP_HEADER

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
    """What a tar is written into. At most ``limit`` blocks are held in memory."""

    def __init__(self, writer: BinaryIO, pool: ThreadPoolExecutor, form: Form, limit: int) -> None:
        self._writer = writer
        self._pool = pool
        self._form = form
        self._limit = limit
        self._waiting: deque[Callable[[], bytes | bytearray]] = deque()
        self._pieces: list[bytes | memoryview] = []
        self._held = 0
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0
        self._taken = 0
        self._put(form.head())

    def write(self, data: bytes) -> int:
        """Take more of the plain bytes."""
        self._taken += len(data)
        rest = memoryview(data)
        while self._held + len(rest) >= BLOCK_BYTES:
            part = BLOCK_BYTES - self._held
            self._hold(rest[:part])
            self._cut()
            rest = rest[part:]
        self._hold(rest)
        return len(data)

    def splice(self, plain: Iterable[bytes], member: Iterable[bytes]) -> None:
        """Take plain bytes whose gzip ``member`` there is already; only of ``FastMembers``."""
        self._cut()
        for piece in plain:
            self._taken += len(piece)
            self._plain.update(piece)
        while self._waiting:
            self._put(self._waiting.popleft()())
        for packed in member:
            self._put(packed)

    def tell(self) -> int:
        """Plain bytes taken so far."""
        return self._taken

    def finish(self) -> Layer:
        """Write what is left; the layer as it lies in the file then."""
        self._cut()
        while self._waiting:
            self._put(self._waiting.popleft()())
        self._put(self._form.tail(self._taken))
        self._writer.flush()
        return Layer(
            digest=f"sha256:{self._packed.hexdigest()}",
            diff_id=f"sha256:{self._plain.hexdigest()}",
            size=self._size,
        )

    def _hold(self, piece: memoryview) -> None:
        if piece:
            self._pieces.append(piece)
            self._held += len(piece)

    def _cut(self) -> None:
        """What is held becomes a block."""
        block = b"".join(self._pieces)
        self._pieces, self._held = [], 0
        if not block:
            return
        pack = self._form.packed(block)
        is_long = len(block) >= _WORTH_A_THREAD
        self._waiting.append(self._pool.submit(pack).result if is_long else pack)
        self._plain.update(block)
        if len(self._waiting) > self._limit:
            self._put(self._waiting.popleft()())

    def _put(self, data: bytes | bytearray) -> None:
        self._writer.write(data)
        self._packed.update(data)
        self._size += len(data)


def _deflate(level: int, block: bytes, before: bytes) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, before)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)

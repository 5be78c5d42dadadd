"""Plain bytes of a compressed file, made in a thread ahead of whoever reads them."""

import io
import lzma
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

from isal import isal_zlib

# What xz -9 needs; a stranger's file may ask for gigabytes.
MAX_XZ_MEMORY = 128 * 1024 * 1024
PIECE_BYTES = 512 * 1024
PIECES_AHEAD = 4
_GZIP = 16 + zlib.MAX_WBITS
# Its stub takes the class for an instance.
_REFUSED = cast("type[Exception]", isal_zlib.error)


class ReadAhead(io.RawIOBase):
    """Reads pieces, of which none is empty; it can only go forward. Closes ``packed`` too."""

    def __init__(self, pieces: Iterator[bytes], packed: BinaryIO) -> None:
        self._pieces = pieces
        self._packed = packed
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._coming: deque[Future[bytes]] = deque()
        self._piece = b""
        self._used = 0
        self._place = 0
        for _ in range(PIECES_AHEAD):
            self._ask()

    def _ask(self) -> None:
        self._coming.append(self._thread.submit(next, self._pieces, b""))

    def read(self, size: int = -1) -> bytes:
        found = []
        while size > 0:
            if self._used == len(self._piece):
                self._piece, self._used = self._coming.popleft().result(), 0
                self._ask()
                if not self._piece:
                    break
            part = self._piece[self._used : self._used + size]
            self._used += len(part)
            self._place += len(part)
            size -= len(part)
            found.append(part)
        return b"".join(found)

    def seek(self, offset: int, _whence: int = io.SEEK_SET) -> int:
        while self._place < offset and self.read(min(offset - self._place, PIECE_BYTES)):
            pass
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        if not self.closed:
            self._thread.shutdown(cancel_futures=True)
            self._packed.close()
        super().close()


def gunzipped(packed: BinaryIO) -> Iterator[bytes]:
    """By ISA-L, in half the time of zlib. Raises ``zlib.error`` or ``EOFError``."""
    try:
        yield from _gunzipped(packed)
    except _REFUSED as error:
        raise zlib.error(str(error)) from error


def _gunzipped(packed: BinaryIO) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj(_GZIP)
    while data := packed.read(PIECE_BYTES):
        while data:
            if inflater.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                inflater = isal_zlib.decompressobj(_GZIP)
            if plain := inflater.decompress(data, PIECE_BYTES):
                yield plain
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    _check_ended(ended=inflater.eof)


def unxzed(packed: BinaryIO) -> Iterator[bytes]:
    """Within ``MAX_XZ_MEMORY``. Raises ``lzma.LZMAError`` or ``EOFError``."""
    decompressor = _xz()
    while data := packed.read(PIECE_BYTES):
        while data or not (decompressor.eof or decompressor.needs_input):
            if decompressor.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                decompressor = _xz()
            if plain := decompressor.decompress(data, PIECE_BYTES):
                yield plain
            data = decompressor.unused_data if decompressor.eof else b""
    _check_ended(ended=decompressor.eof)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)


def _check_ended(*, ended: bool) -> None:
    if not ended:
        raise EOFError("the compressed file ends in the middle")

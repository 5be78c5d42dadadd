"""Files that lie deflated in a zip: inflated and checked, and their deflate streams as gzip.

A zip and a gzip member hold the same kind of stream. What a wheel or a zip brings into a layer is
so taken over as it is, and packed a second time by nobody.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import deflate
from isal import isal_zlib

# Magic, deflate, no flags, no time, no level hint, unknown operating system.
GZIP_HEADER = b"\x1f\x8b\x08\x00" + b"\0\0\0\0" + b"\x00\xff"
PIECE_BYTES = 256 * 1024
MAX_AT_ONCE = 8 * 1024 * 1024
"""Larger files are inflated piece by piece."""
# A shorter one costs more as a member of its own than it saves.
MIN_SPLICED = 4 * 1024
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_MAGIC = b"PK\x03\x04"
_NAME_IS_UTF8 = 0x800


Take = Callable[[bytes | bytearray], object]


@dataclass(frozen=True)
class Deflated:
    """A deflate stream of ``length`` bytes within ``archive`` that was found to be sound.

    All of it and nothing behind it inflates to ``size`` bytes with this CRC-32.
    """

    archive: Path
    offset: int
    length: int
    size: int
    crc: int


DeflatedFiles = dict[str, Deflated]
"""By the absolute path of the file that has the content."""


def gzip_member(deflated: Deflated) -> Iterator[bytes]:
    """The stream as a member of a gzip file, in pieces."""
    yield GZIP_HEADER
    with EntryReader(deflated.archive) as archive:
        yield from archive.pieces(deflated.offset, deflated.length)
    yield _trailer(deflated.crc, deflated.size)


class EntryReader:
    """Reads the stored and deflated entries of a zip; for any number of threads at a time."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def unpack(self, entry: zipfile.ZipInfo, take: Take) -> Deflated | None:
        """Hand the content of an entry to ``take``, piece by piece.

        Answers its stream where that may go into a layer as it is. Raises ``BadZipFile``,
        ``zlib.error`` or ``EOFError`` when the entry is not as the archive says.
        """
        offset = self._data_offset(entry)
        if entry.compress_type == zipfile.ZIP_STORED:
            _check(entry, self.pieces(offset, entry.compress_size), take)
            return None
        if max(entry.compress_size, entry.file_size) <= MAX_AT_ONCE:
            is_whole = self._unpack_at_once(entry, offset, take)
        else:
            is_whole = self._unpack_in_pieces(entry, offset, take)
        if not is_whole or entry.compress_size < MIN_SPLICED:
            return None
        return Deflated(self._archive, offset, entry.compress_size, entry.file_size, entry.CRC)

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """A part of the file."""
        left = length
        while left:
            piece = os.pread(self._descriptor, min(left, PIECE_BYTES), offset + length - left)
            if not piece:
                raise EOFError("an archive ends within an entry")
            left -= len(piece)
            yield piece

    def _data_offset(self, entry: zipfile.ZipInfo) -> int:
        """Where the data begin, by the entry's local header, which must tell the same name."""
        header = os.pread(self._descriptor, _LOCAL_HEADER.size, entry.header_offset)
        if len(header) < _LOCAL_HEADER.size:
            raise EOFError("an archive ends within a header")
        magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        place = entry.header_offset + _LOCAL_HEADER.size
        encoding = "utf-8" if entry.flag_bits & _NAME_IS_UTF8 else "cp437"
        name = os.pread(self._descriptor, name_length, place).decode(encoding)
        if magic != _LOCAL_MAGIC or name != entry.orig_filename:
            raise zipfile.BadZipFile(f"{entry.filename} is not where the archive says")
        return int(place + name_length + extra_length)

    def _unpack_at_once(self, entry: zipfile.ZipInfo, offset: int, take: Take) -> bool:
        """By libdeflate, which reads and checks the very member that a layer would have."""
        trailer = _trailer(entry.CRC, entry.file_size)
        pieces = self.pieces(offset, entry.compress_size)
        member = b"".join([GZIP_HEADER, *pieces, trailer])
        try:
            plain = deflate.gzip_decompress(member, entry.file_size)
        except deflate.DeflateError:
            plain = bytearray()
        if len(plain) != entry.file_size:
            # zlib allows for something behind the stream, and has words for what is wrong.
            return self._unpack_in_pieces(entry, offset, take)
        take(plain)
        # A stream that ends before its end would bring a trailer of its own.
        return member.find(trailer, len(GZIP_HEADER)) == len(member) - len(trailer)

    def _unpack_in_pieces(self, entry: zipfile.ZipInfo, offset: int, take: Take) -> bool:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        packed = self.pieces(offset, entry.compress_size)
        _check(entry, _inflated(inflater, packed), take)
        return not inflater.unused_data and next(packed, None) is None


def _check(entry: zipfile.ZipInfo, pieces: Iterator[bytes], take: Take) -> None:
    size = crc = 0
    for plain in pieces:
        size += len(plain)
        if size > entry.file_size:
            raise zipfile.BadZipFile(f"{entry.filename} holds more than it says")
        crc = isal_zlib.crc32(plain, crc)
        take(plain)
    if (size, crc) != (entry.file_size, entry.CRC):
        raise zipfile.BadZipFile(f"{entry.filename} has not the size and CRC-32 that it says")


def _inflated(inflater: "zlib._Decompress", packed: Iterator[bytes]) -> Iterator[bytes]:
    for piece in packed:
        rest = piece
        while True:
            plain = inflater.decompress(rest, PIECE_BYTES)
            if plain:
                yield plain
            rest = inflater.unconsumed_tail
            if inflater.eof:
                return
            if not rest and len(plain) < PIECE_BYTES:
                break
    raise EOFError("a deflated entry ends in the middle")


def _trailer(crc: int, size: int) -> bytes:
    return struct.pack("<II", crc, size & 0xFFFFFFFF)

"""A wheel whose files are compared with its RECORD while they are installed: each is read once."""

import base64
import hashlib
import io
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from installer.records import Hash, RecordEntry, parse_record_file
from installer.sources import WheelContentElement, WheelFile

from fleetwide.errors import ArtifactRejected
from fleetwide.providers.deflated import Deflated, EntryReader
from fleetwide.providers.unpacking import PIECE_BYTES

# What an installed RECORD has, whatever that of the wheel has.
HASH = "sha256"


@dataclass(frozen=True)
class RecordedFile:
    """A file of a wheel that goes to its place unchanged, and what its RECORD says of it."""

    archive: EntryReader
    item: zipfile.ZipInfo
    hash: Hash
    size: int
    wheel: str

    def write_to(self, writer: BinaryIO) -> Deflated | None:
        """Write the content, and answer its deflate stream where that is of use in a layer.

        Raises:
            ArtifactRejected: its bytes are not those of the RECORD.
        """
        hashed = hashlib.sha256()

        def take(piece: bytes | bytearray) -> None:
            hashed.update(piece)
            writer.write(piece)

        deflated = self.archive.unpack(self.item, take)
        if (_text(hashed.digest()), self.item.file_size) != (self.hash.value, self.size):
            raise _differs(self.wheel, self.item.filename)
        return deflated


class RecordedWheel(WheelFile):
    """For ``installer.install``, after ``validate_record(validate_contents=False)``.

    For a file that goes to its place as it is, the stream is a ``RecordedFile``. Raises
    ``ArtifactRejected`` after another one whose bytes are not those of the RECORD.
    """

    def __init__(self, archive: zipfile.ZipFile, entries: EntryReader) -> None:
        super().__init__(archive)
        self._entries = entries

    @property
    def dist_info_filenames(self) -> list[str]:
        """As the library tells them, which compares paths part by part for each."""
        folder = f"{self.dist_info_dir}/"
        names = self._zipfile.namelist()
        return [name[len(folder) :] for name in names if name.startswith(folder)]

    def get_contents(self) -> Iterator[WheelContentElement]:
        lines = self.read_dist_info("RECORD").splitlines()
        records = {record[0]: record for record in parse_record_file(lines)}
        for item in self._zipfile.infolist():
            if item.is_dir():
                continue
            elements = records.get(item.filename, (item.filename, "", ""))
            mode = item.external_attr >> 16
            is_executable = stat.S_ISREG(mode) and bool(mode & 0o111)
            for stream in self._streams(item, RecordEntry.from_elements(*elements)):
                yield elements, stream, is_executable

    def _streams(self, item: zipfile.ZipInfo, record: RecordEntry) -> Iterator[BinaryIO]:
        """The one stream of a file."""
        name = f"{self.distribution} {self.version}"
        if record.hash_ is None or record.size is None:  # the RECORD itself, and signatures of it
            with self._zipfile.open(item) as plain:
                yield cast("BinaryIO", plain)
        elif record.hash_.name == HASH and not item.filename.startswith(self.data_dir):
            file = RecordedFile(self._entries, item, record.hash_, record.size, name)
            yield cast("BinaryIO", file)
        else:
            with self._zipfile.open(item) as plain:
                hashed = _Hashed(cast("BinaryIO", plain), record.hash_.name)
                yield cast("BinaryIO", hashed)
                if hashed.rest() != (record.hash_.value, record.size):
                    raise _differs(name, record.path)


class _Hashed(io.RawIOBase):
    """Hashes what is read; it can only go forward, and back to the start."""

    def __init__(self, inner: BinaryIO, algorithm: str) -> None:
        self._inner = inner
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self._hash.update(data)
        self._size += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("it can only go back to the start")
        self._hash, self._size = hashlib.new(self._algorithm), 0
        return self._inner.seek(0)

    def rest(self) -> tuple[str, int]:
        """Read on to the end; digest and bytes of the whole file, as a RECORD has them."""
        while self.read(PIECE_BYTES):
            pass
        return _text(self._hash.digest()), self._size


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _differs(wheel: str, path: str) -> ArtifactRejected:
    return ArtifactRejected(f"{wheel} is not a sound wheel: {path} is not as its RECORD says")

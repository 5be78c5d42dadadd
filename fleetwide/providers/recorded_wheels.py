"""A wheel whose files are compared with its RECORD while they are installed: each is read once."""

import base64
import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from installer.records import RecordEntry
from installer.sources import WheelContentElement, WheelFile

from fleetwide.errors import ArtifactRejected
from fleetwide.providers.unpacking import PIECE_BYTES


class RecordedWheel(WheelFile):
    """For ``installer.install``, after ``validate_record(validate_contents=False)``.

    Raises ``ArtifactRejected`` after a file whose bytes are not those of the RECORD.
    """

    def get_contents(self) -> Iterator[WheelContentElement]:
        for elements, stream, executable in super().get_contents():
            record = RecordEntry.from_elements(*elements)
            if record.hash_ is None:  # the RECORD itself, and signatures of it
                yield elements, stream, executable
                continue
            hashed = _Hashed(stream, record.hash_.name)
            yield elements, cast("BinaryIO", hashed), executable
            if hashed.rest() != (record.hash_.value, record.size):
                raise ArtifactRejected(
                    f"{self.distribution} {self.version} is not a sound wheel: "
                    f"{record.path} is not as its RECORD says"
                )


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
        digest = base64.urlsafe_b64encode(self._hash.digest()).decode("ascii").rstrip("=")
        return digest, self._size

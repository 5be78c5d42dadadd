"""Files with secrets in them: made so that only their owner reads them, checked when read."""

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from fleetwide.errors import InvalidInput, PlatformError

Content = TypeVar("Content")


def create_private(path: Path, data: bytes) -> None:
    """Make a file of mode 0600; where one is there already, that one stays.

    Processes that create it at the same time all end up with the same one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp gives mode 0600; link() never replaces, so the first of several creators wins.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def replace_private(path: Path, data: bytes) -> None:
    """Put a file of mode 0600 in the place of the one that may be there, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_private(path: Path, field: str) -> bytes:
    """The bytes of a file that only its owner may read.

    Raises:
        InvalidInput: others may read it.
        OSError: it cannot be read.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        message = "may be read by others than its owner"
        raise InvalidInput.for_field(field, message, given=str(path), hint=f"chmod 600 {path}")
    return path.read_bytes()


class PrivateFile(Generic[Content]):
    """A private file and what it says; it is read again when it has changed. Thread-safe."""

    def __init__(self, path: Path, field: str, parse: Callable[[bytes, str], Content]) -> None:
        self._path = path
        self._field = field
        self._parse = parse
        self._lock = Lock()
        self._known: tuple[tuple[int, ...], Content] | None = None

    def read(self) -> Content:
        """What the file says now.

        Raises:
            InvalidInput: others may read it, or it cannot be parsed.
            PlatformError: it cannot be read.
        """
        with self._lock:
            try:
                found = self._path.stat()
                stamp = (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode)
                if self._known is None or self._known[0] != stamp:
                    data = read_private(self._path, self._field)
                    self._known = (stamp, self._parse(data, str(self._path)))
            except OSError as error:
                raise PlatformError(
                    f"{self._path} cannot be read: {error.strerror}",
                    hint=f"ls -ld {self._path.parent} {self._path}",
                ) from error
            return self._known[1]

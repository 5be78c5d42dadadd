"""The object store: logs, results, SBOMs and disk images, in a folder or in S3.

Keys are relative POSIX paths. Writes are atomic: a reader sees the old object or the new one,
never a part. A write survives the death of the writing process; a folder store does not promise
that it survives a power cut within the operating system's write-back time.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from fleetwide.errors import InvalidInput, NotFound, ObjectStoreUnavailable
from fleetwide.settings import Settings

MAX_KEY_BYTES = 1000
KEY_PATTERN = re.compile(r"[A-Za-z0-9._@+=:-]+(/[A-Za-z0-9._@+=:-]+)*")
TEMPORARY_FOLDER = ".tmp"
OBJECT_MODE = 0o600
"""What ``mkstemp`` gives all other objects of a folder."""


@dataclass(frozen=True)
class StoredObject:
    """One entry of a listing; ``size`` in bytes."""

    key: str
    size: int


class ByteStream(Protocol):
    """What ``open_stream`` gives: read it in pieces, then close it."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class ObjectStore(Protocol):
    """Named bytes.

    Every method raises ``InvalidInput`` for a bad key and ``ObjectStoreUnavailable`` when the
    store does not answer; the reading ones raise ``NotFound`` for a missing key.
    """

    def put_bytes(self, key: str, data: bytes) -> None: ...

    def put_file(self, key: str, path: Path) -> None: ...

    def move_file(self, key: str, path: Path) -> None:
        """Like ``put_file``, but ``path`` is gone afterwards; on one disk nothing is copied."""
        ...

    def get_bytes(self, key: str) -> bytes: ...

    def get_file(self, key: str, path: Path) -> None: ...

    def open_stream(self, key: str) -> ByteStream: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> list[StoredObject]:
        """The objects whose key starts with ``prefix``, ordered by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing one counts as removed."""
        ...


def checked_key(key: str) -> str:
    """``key`` itself when it is a plain relative path, else ``InvalidInput``."""
    parts = key.split("/")
    plain = KEY_PATTERN.fullmatch(key) and not {".", ".."}.intersection(parts)
    if not plain or len(key) > MAX_KEY_BYTES or parts[0] == TEMPORARY_FOLDER:
        raise InvalidInput.for_field("key", "is not a plain relative object key", given=key)
    return key


def checked_prefix(prefix: str) -> str:
    """Like ``checked_key``, but empty and with a trailing slash allowed."""
    return prefix and checked_key(prefix.removesuffix("/")) and prefix


class FolderStore:
    """An ``ObjectStore`` in a local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._replacing(key) as file:
            file.write(data)

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as source, self._replacing(key) as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def move_file(self, key: str, path: Path) -> None:
        target = self._path(key)
        with self._reached(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(OBJECT_MODE)
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            else:
                return
        self.put_file(key, path)
        path.unlink()

    def get_bytes(self, key: str) -> bytes:
        with self._translated(key):
            return self._path(key).read_bytes()

    def get_file(self, key: str, path: Path) -> None:
        partial = path.with_name(f"{path.name}.partial")
        with self._translated(key):
            shutil.copyfile(self._path(key), partial)
            partial.replace(path)

    def open_stream(self, key: str) -> ByteStream:
        with self._translated(key):
            return self._path(key).open("rb")

    def exists(self, key: str) -> bool:
        with self._translated(key):
            return self._path(key).is_file()

    def list(self, prefix: str) -> list[StoredObject]:
        folder, _, _ = checked_prefix(prefix).rpartition("/")
        with self._translated(prefix):
            found = [
                StoredObject(key, size)
                for key, size in self._files(self._folder / folder)
                if key.startswith(prefix)
            ]
        return sorted(found, key=lambda stored: stored.key)

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / checked_key(key)

    def _files(self, folder: Path) -> Iterator[tuple[str, int]]:
        for parent, subfolders, names in os.walk(folder):
            if TEMPORARY_FOLDER in subfolders and Path(parent) == self._folder:
                subfolders.remove(TEMPORARY_FOLDER)
            for name in names:
                path = Path(parent, name)
                yield path.relative_to(self._folder).as_posix(), path.stat().st_size

    @contextmanager
    def _replacing(self, key: str) -> Iterator[IO[bytes]]:
        target = self._path(key)
        with self._reached(key):
            temporary = self._folder / TEMPORARY_FOLDER
            temporary.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=temporary)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    yield file
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        with self._reached(key):
            try:
                yield
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise NotFound(f"the object store has no object {key!r}") from error

    @contextmanager
    def _reached(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ObjectStoreUnavailable(
                f"the object store's folder did not take {key!r}: {error.strerror}",
                hint=f"df -h {self._folder}; ls -ld {self._folder}",
            ) from error


def open_object_store(settings: Settings) -> ObjectStore:
    """The store that ``Settings.object_store_url`` names."""
    url = urlsplit(settings.object_store_url)
    if url.scheme == "file" and not url.netloc and url.path:
        return FolderStore(Path(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        # boto3 takes a quarter of a second to import; processes with a folder store go without.
        from fleetwide.providers.objects_s3 import S3Store  # noqa: PLC0415

        return S3Store.connect(settings, url.netloc, url.path.strip("/"))
    raise InvalidInput.for_field(
        "object_store_url",
        "must be file:<folder> or s3://<bucket>/<prefix>",
        given=settings.object_store_url,
    )

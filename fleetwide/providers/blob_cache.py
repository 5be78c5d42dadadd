"""A host's own folder of blobs: bounded, and each file is what its name says."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO

from fleetwide.errors import RegistryUnavailable
from fleetwide.registry.digests import hex_of


class BlobCache:
    """Blobs by digest; safe to share between threads and with what an earlier process left."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = Lock()
        self._pinned: dict[str, int] = {}

    def find(self, digest: str) -> Path | None:
        """The blob's file; None when it is not here. What is asked for stays longer."""
        path = self._path(digest)
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    @contextmanager
    def keeping(self, digests: Iterable[str]) -> Iterator[None]:
        """None of these goes meanwhile, however full the cache is."""
        names = [hex_of(digest) for digest in digests]
        with self._lock:
            for name in names:
                self._pinned[name] = self._pinned.get(name, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                for name in names:
                    self._pinned[name] -= 1
                    if not self._pinned[name]:
                        del self._pinned[name]
            self._trim()

    def put(self, digest: str, pieces: Iterable[bytes], size: int) -> int:
        """Keep a blob of ``size`` bytes; the bytes that came.

        Raises:
            RegistryUnavailable: they are not the blob's; nothing is kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder, prefix="partial-", delete=False) as file:
            try:
                came = _write_checked(file, digest, pieces, size)
                file.flush()
                Path(file.name).rename(self._path(digest))
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        self._trim()
        return came

    def clean(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for path in self._folder.glob("partial-*"):
            path.unlink(missing_ok=True)

    def _trim(self) -> None:
        """Remove what was used longest ago until the rest fits."""
        with self._lock:
            found = []
            for path in self._folder.glob("[0-9a-f]*"):
                with suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if total <= self._limit:
                    return
                if path.name not in self._pinned:
                    path.unlink(missing_ok=True)
                    total -= size

    def _path(self, digest: str) -> Path:
        return self._folder / hex_of(digest)


def _write_checked(file: IO[bytes], digest: str, pieces: Iterable[bytes], size: int) -> int:
    hasher, came = hashlib.sha256(), 0
    for piece in pieces:
        came += len(piece)
        if came > size:
            break
        hasher.update(piece)
        file.write(piece)
    if came != size or f"sha256:{hasher.hexdigest()}" != digest:
        raise RegistryUnavailable(f"{came} bytes came for blob {digest} that are not its own")
    return came

"""What a builder keeps between builds: tools and disks; the oldest goes when it is too much."""

import gzip
import shutil
import time
import zlib
from contextlib import suppress
from pathlib import Path

from fleetwide.baseos.locks import lock_digest
from fleetwide.errors import PlatformError
from fleetwide.models.baseos import Face
from fleetwide.models.os_releases import DiskImage
from fleetwide.providers.disks import digest_disk
from fleetwide.providers.file_locks import locked
from fleetwide.providers.mmdebstrap import LockedBuild, bootstrap
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.pool import Pool
from fleetwide.providers.progress import Progress, Throttled, meanwhile
from fleetwide.registry.digests import hex_of

# A build that runs now may still need what was touched this recently.
RECENT_SECONDS = 3600
FAILED_TREES_SECONDS = 24 * 3600
# EBS itself gives an upload up that stands still for two hours; a retry comes sooner than that.
UPLOADS_SECONDS = 24 * 3600
PIECE = 1024 * 1024
TRIMMED = ("disks", "pool", "tools")
WAITING = "waiting for another build that makes the same"


class BuilderCache:
    """Folders below a builder's own: ``tools``, ``disks``, ``pool``, ``failed``, ``uploads``."""

    def __init__(self, folder: Path, objects: ObjectStore) -> None:
        self.folder = folder.absolute()
        self.pool = Pool(self.folder / "pool", objects)
        self._objects = objects

    def tools(self, build: LockedBuild, progress: Progress) -> Path:
        """The tree of the lock's own disk tools; unpacked once per set of packages."""
        lock = build.lock.model_copy(update={"packages": build.lock.of(Face.TOOLS)})
        ready = self.folder / "tools" / hex_of(lock_digest(lock))
        with locked(ready.with_suffix(".lock"), progress, WAITING):
            if not ready.is_dir():
                partial = ready.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                bootstrap(build, Face.TOOLS, self.pool, partial, progress).rename(ready)
                shutil.rmtree(partial)
        ready.touch()
        return ready

    def disk_path(self, digest: str) -> Path:
        """Where a disk lies on this builder, if it does."""
        return self.folder / "disks" / f"{hex_of(digest)}.raw"

    def disk(self, disk: DiskImage, progress: Progress) -> Path:
        """The raw disk; fetched from the object store when it is not here."""
        path = self.disk_path(disk.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), progress, WAITING):
            if not path.is_file():
                self._fetch_disk(disk, path, Throttled(progress))
        path.touch()
        return path

    def _fetch_disk(self, disk: DiskImage, path: Path, progress: Progress) -> None:
        packed, partial = path.with_suffix(".gz"), path.with_suffix(".partial")
        try:
            meanwhile(
                progress, "fetching the disk", lambda: self._objects.get_file(disk.key, packed)
            )
            try:
                _unpack(packed, partial, disk.size, progress)
            except (OSError, EOFError, zlib.error) as error:
                raise PlatformError(f"{disk.key} could not be unpacked: {error}") from error
            digest, _ = digest_disk(partial, progress)
            if digest != disk.digest:
                raise PlatformError(f"the object store has {digest} under {disk.key}")
            partial.rename(path)
        finally:
            packed.unlink(missing_ok=True)
            partial.unlink(missing_ok=True)

    def keep_failed(self, tree: Path, name: str) -> Path:
        """Move a tree aside for a day, for somebody to look into."""
        kept = self.folder / "failed" / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        tree.rename(kept)
        kept.touch()
        return kept

    def journal(self, name: str) -> Path:
        """Where the journal of an upload to EBS lies; it stays for a day after its last line.

        It outlives the upload, since a try whose answer got lost is made again and must find its
        snapshot.
        """
        folder = self.folder / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.jsonl"

    def trim(self, keep: int) -> None:
        """Remove what was used longest ago until ``keep`` bytes are left.

        Failed trees and journals of uploads go by their age alone.
        """
        now = time.time()
        _remove_older(self.folder / "failed", now - FAILED_TREES_SECONDS)
        _remove_older(self.folder / "uploads", now - UPLOADS_SECONDS)
        found = [path for name in TRIMMED for path in _entries(self.folder / name)]
        sized = sorted((sized for path in found if (sized := _aged(path))), reverse=True)
        total = 0
        for used_at, size, path in sized:
            total += size
            if total > keep and now - used_at > RECENT_SECONDS:
                _remove(path)


def _unpack(packed: Path, target: Path, size: int, progress: Progress) -> None:
    """Gunzip into a sparse file: what is all zero takes no place."""
    zeros = bytes(PIECE)
    with gzip.open(packed, "rb") as reader, target.open("wb") as writer:
        writer.truncate(size)
        done = 0
        while piece := reader.read(PIECE):
            if piece != zeros[: len(piece)]:
                writer.seek(done)
                writer.write(piece)
            done += len(piece)
            progress("unpacking the disk", done / size)


def _remove_older(folder: Path, before: float) -> None:
    """Remove what of a folder was not changed since; another build may do the same just now."""
    for path in _entries(folder):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _aged(path: Path) -> tuple[float, int, Path] | None:
    """When it was used last, and its size; None when another build took it away just now."""
    try:
        return path.stat().st_mtime, _size(path), path
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    """Bytes on disk, not bytes that could be read: disks have holes."""
    blocks = [path, *(path.rglob("*") if path.is_dir() else ())]
    total: int = sum(one.lstat().st_blocks for one in blocks)
    return total * 512

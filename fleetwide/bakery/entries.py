"""Which entries of an archive may enter an image. Archives come from strangers."""

import posixpath
from dataclasses import dataclass

from fleetwide.errors import ArtifactRejected

MAX_ENTRIES = 200_000
MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
# Zeros deflate to a thousandth, the worst of real logs to a fiftieth. Below the floor nobody minds.
MAX_ZIP_RATIO = 200
RATIO_FLOOR_BYTES = 64 * 1024**2


def checked_path(name: str, archive: str) -> str:
    """The entry's path relative to the archive's root, normalised; "" is the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise refused(archive, name, "an absolute path")
    if ".." in parts:
        raise refused(archive, name, "a path that leaves the archive")
    if "\\" in name or any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise refused(archive, name, "a path with a control character or backslash")
    if len(name.encode(errors="surrogateescape")) > MAX_PATH_BYTES:
        raise refused(archive, name, f"a path longer than {MAX_PATH_BYTES} bytes")
    if any(len(part.encode(errors="surrogateescape")) > MAX_NAME_BYTES for part in parts):
        raise refused(archive, name, f"a name longer than {MAX_NAME_BYTES} bytes")
    if any(part.startswith(".wh.") for part in parts):
        raise refused(archive, name, "a name that image layers reserve for deletions")
    return "/".join(parts)


def checked_link(path: str, target: str, root: str, archive: str) -> str:
    """The symbolic link's target made relative; ``root`` is where the tree is installed.

    Only the words of the target are checked here; links through other links are checked on disk.
    """
    folder = posixpath.dirname(path)
    if target.startswith("/"):
        if posixpath.normpath(target) != root and not posixpath.normpath(target).startswith(
            f"{root}/"
        ):
            raise refused(archive, path, f"a link to {target}, outside {root}")
        inside = posixpath.relpath(posixpath.normpath(target), root)
        return posixpath.relpath(inside, folder or ".")
    reached = posixpath.normpath(posixpath.join(folder, target))
    if not target or reached == ".." or reached.startswith("../"):
        raise refused(archive, path, f"a link to {target!r}, outside the archive")
    return target


@dataclass
class Budget:
    """Counts what an archive unpacks to, and refuses decompression bombs."""

    archive: str
    entries: int = 0
    unpacked: int = 0
    max_entries: int = MAX_ENTRIES
    max_bytes: int = MAX_UNPACKED_BYTES

    @classmethod
    def of_zip(cls, archive: str, packed: int) -> "Budget":
        """For a zip of ``packed`` bytes, whose entries may all share the same packed bytes."""
        by_ratio = max(MAX_ZIP_RATIO * packed, RATIO_FLOOR_BYTES)
        return cls(archive, max_bytes=min(MAX_UNPACKED_BYTES, by_ratio))

    def take(self, name: str, size: int) -> None:
        """Count one entry; ``ArtifactRejected`` when that is one, or some bytes, too many."""
        self.entries += 1
        self.unpacked += size
        if self.entries > self.max_entries:
            raise refused(self.archive, name, f"more than {self.max_entries} entries")
        if self.unpacked > self.max_bytes:
            raise refused(self.archive, name, f"more than {self.max_bytes} bytes unpacked")


def refused(archive: str, entry: str, why: str) -> ArtifactRejected:
    """The refusal of an entry that has what no entry may have."""
    return ArtifactRejected(f"{archive}: entry {entry[:200]!r} has {why}")


def refused_kind(archive: str, entry: str, kind: str) -> ArtifactRejected:
    """The refusal of an entry that is no file, folder or link."""
    return ArtifactRejected(f"{archive}: entry {entry[:200]!r} is a {kind}")

"""The tree that an image will have: a bake's own layer over its base, read and never written."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fleetwide.bakery.programs import Node, resolved
from fleetwide.providers.layers import LayerEntry
from fleetwide.providers.overlay import OPAQUE, WHITEOUT


class ImageView:
    """What lies where. Links are followed inside the image only, never on the builder."""

    def __init__(self, entries: Sequence[LayerEntry], base: Path) -> None:
        self._base = base
        self._entries = {entry.path: entry for entry in entries if entry.source is not None}
        deletions = [entry.path for entry in entries if entry.source is None]
        self._deleted = {_deleted_path(path) for path in deletions}
        self._emptied = {path[: -len(OPAQUE) - 1] for path in deletions if path.endswith(OPAQUE)}

    def look(self, path: str) -> Node | None:
        """What lies at ``path`` (relative); its parents must be no links."""
        entry = self._entries.get(path)
        if entry is not None and entry.source is not None:
            return Node(entry.mode, entry.uid, entry.gid, _link(entry.mode, entry.source))
        below = self._below(path)
        if below is None:
            return None
        found = below.lstat()
        return Node(found.st_mode, found.st_uid, found.st_gid, _link(found.st_mode, below))

    def read(self, path: str, limit: int) -> bytes:
        """The first ``limit`` bytes of a file, links followed; nothing where there is no file."""
        place = resolved(path, self.look)
        entry = self._entries.get(place) if place else None
        source = entry.source if entry else self._below(place) if place else None
        if source is None or not stat.S_ISREG(source.lstat().st_mode):
            return b""
        return read_start(source, limit)

    def _below(self, path: str) -> Path | None:
        """The base's own file, unless the layer hides it or a link of the base leads there."""
        parts = path.split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        if path in self._deleted or any(
            folder in self._deleted or folder in self._emptied for folder in folders
        ):
            return None
        if any(not stat.S_ISDIR(_mode(self._base / folder)) for folder in folders):
            return None
        found = self._base / path
        return found if os.path.lexists(found) else None


def read_start(source: Path, limit: int) -> bytes:
    """The first ``limit`` bytes of a file that is no link."""
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    # A buffer of the whole limit would cost several times the reading of an ordinary file.
    with os.fdopen(descriptor, "rb", buffering=0) as reader:
        return reader.read(min(limit, os.fstat(descriptor).st_size))


def _deleted_path(whiteout: str) -> str:
    folder, _, name = whiteout.rpartition("/")
    name = name.removeprefix(WHITEOUT)
    return f"{folder}/{name}" if folder else name


def _link(mode: int, source: Path) -> str:
    return str(source.readlink()) if stat.S_ISLNK(mode) else ""


def _mode(path: Path) -> int:
    return path.lstat().st_mode if os.path.lexists(path) else 0

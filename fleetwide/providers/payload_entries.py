"""Bring the entries of a payload together, and onto a base with its own links and folders."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fleetwide.errors import ArtifactRejected
from fleetwide.providers.layers import LayerEntry
from fleetwide.providers.overlay import WHITEOUT
from fleetwide.providers.root_tree import RootTree

SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


def fitted(entries: Iterable[LayerEntry], base: Path) -> list[LayerEntry]:
    """``entries`` as they must stand in a layer on ``base``.

    A folder for which the base has a link to a folder is that folder, as dpkg holds it where
    ``/lib`` is a link to ``/usr/lib``; one that the base has keeps the base's owner and mode.
    Raises ``ArtifactRejected`` when something else would take the place of a folder of the base.
    """
    with RootTree(base) as files:
        fitting = _Fitting(files)
        placed: dict[str, LayerEntry] = {}
        for entry in sorted(entries, key=lambda one: one.path.split("/")):
            placed |= {one.path: one for one in fitting.fit(entry)}
    return list(placed.values())


class _Fitting:
    def __init__(self, base: RootTree) -> None:
        self._base = base
        self._root = str(base.root)
        self._places: dict[str, str] = {}

    def fit(self, entry: LayerEntry) -> list[LayerEntry]:
        """The entry at its place; for a folder that lies elsewhere, every folder on the way."""
        parent, _, name = entry.path.rpartition("/")
        above = self._places.get(parent, parent)
        place = f"{above}/{name}" if above else name
        looks = self._look(place)
        if not entry.is_folder:
            if looks is not None and stat.S_ISDIR(looks.st_mode):
                raise ArtifactRejected(
                    f"the payload has a file or link at /{place}, where the base has a folder"
                )
            return [_moved(entry, place)]
        if looks is not None and stat.S_ISLNK(looks.st_mode):
            found = self._base.resolved(f"/{place}")
            if found is not None and (self._base.root / found.lstrip("/")).is_dir():
                place = found.strip("/")
        self._places[entry.path] = place
        return self._folders(place, entry)

    def _look(self, place: str) -> os.stat_result | None:
        """What the base has there, links not followed."""
        try:
            return os.lstat(f"{self._root}/{place}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _folders(self, place: str, entry: LayerEntry) -> list[LayerEntry]:
        parts = place.split("/") if place else []
        paths = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        return [self._as_on_base(_moved(entry, path)) for path in paths]

    def _as_on_base(self, entry: LayerEntry) -> LayerEntry:
        looks = self._look(entry.path)
        if looks is None or not stat.S_ISDIR(looks.st_mode):
            return entry
        return replace(entry, mode=looks.st_mode, uid=looks.st_uid, gid=looks.st_gid)


def _moved(entry: LayerEntry, place: str) -> LayerEntry:
    return entry if entry.path == place else replace(entry, path=place)


def merged(below: Iterable[LayerEntry], above: Iterable[LayerEntry]) -> list[LayerEntry]:
    """Both together; a file of ``above`` replaces one of ``below`` or its deletion.

    A folder that both have stays as it is ``below``.
    Raises ``ArtifactRejected`` when one has a folder where the other has something else.
    """
    entries = {entry.path: entry for entry in below}
    for entry in above:
        found = entries.setdefault(entry.path, entry)
        if found.is_folder != entry.is_folder:
            raise ArtifactRejected(f"the payload has /{entry.path} both as a folder and as a file")
        if not entry.is_folder:
            entries[entry.path] = entry
            folder, _, name = entry.path.rpartition("/")
            entries.pop(f"{folder}/{WHITEOUT}{name}".lstrip("/"), None)
    return list(entries.values())


def without_set_ids(entries: Sequence[LayerEntry]) -> list[LayerEntry]:
    """The entries with the setuid and setgid bits taken off their files."""
    return [
        replace(entry, mode=entry.mode & ~SET_ID_BITS) if stat.S_ISREG(entry.mode) else entry
        for entry in entries
    ]


def folders_to(path: str, source: Path, epoch: int) -> list[LayerEntry]:
    """The folders that ``path`` (relative) lies in; ``source`` is any folder on disk."""
    parts = path.split("/")[:-1]
    return [
        LayerEntry("/".join(parts[: number + 1]), source, stat.S_IFDIR | 0o755, mtime=epoch)
        for number in range(len(parts))
    ]

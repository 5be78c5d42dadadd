"""What a payload changes on a disk, worked out from the tree that lies on it: debugfs commands."""

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetwide.baseos.disks import BLOCK
from fleetwide.baseos.ext4_patch import (
    CAPABILITY,
    Looks,
    add_name,
    make_fifo,
    make_folder,
    make_link,
    remove,
    set_capability,
    set_looks,
    write_file,
)
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.layers import LayerEntry, walk
from fleetwide.providers.overlay import OPAQUE, WHITEOUT
from fleetwide.providers.root_tree import RootTree

# A longer target of a link takes a block of its own.
_FAST_LINK = 59
FILES = "/work/files"
"""Where debugfs finds the sources, by their number."""


@dataclass(frozen=True)
class DiskChanges:
    """Commands in order, the files that they name, and the room that it takes."""

    commands: list[bytes] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    """Content of file number 0, 1, ..."""
    capabilities: dict[int, bytes] = field(default_factory=dict)
    """Number of the file to its attribute, where it has one."""

    @property
    def inodes(self) -> int:
        """How many new things there may be: each takes an inode of the file system."""
        return sum(
            line.startswith((b"mkdir", b"write", b"symlink", b"mknod")) for line in self.commands
        )

    @property
    def blocks(self) -> int:
        """Blocks of 4096 bytes that files, folders and long links may take."""
        content = sum(-(-source.lstat().st_size // BLOCK) for source in self.sources)
        folders = sum(line.startswith(b"mkdir") for line in self.commands)
        links = sum(
            line.startswith(b"symlink") and len(line) > _FAST_LINK for line in self.commands
        )
        return content + folders + links


def plan_changes(tree: Path, entries: Sequence[LayerEntry]) -> DiskChanges:
    """How ``entries`` get onto the disk that ``tree`` was unpacked from.

    A folder of the entries for which the base has a link to a folder is that folder: what dpkg does
    where ``/lib`` is a link to ``/usr/lib``. Raises ``ArtifactRejected`` for a device node.
    """
    ordered = sorted(entries, key=lambda entry: entry.path.split("/"))
    folders = {entry.path for entry in ordered if entry.is_folder}
    with RootTree(tree) as base:
        planner = _Planner(_Disk(base, folders), DiskChanges(), _names(ordered))
        for entry in ordered:
            if entry.source is None:
                planner.delete(entry.path)
        for entry in ordered:
            if entry.source is not None:
                planner.put(entry)
    return planner.changes


def _names(entries: Sequence[LayerEntry]) -> dict[tuple[int, int], list[str]]:
    """Every file of several names, by its identity on the builder."""
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    for entry in entries:
        if entry.source is not None and stat.S_ISREG(entry.mode):
            names[_identity(entry.source)].append(entry.path)
    return names


def _identity(source: Path) -> tuple[int, int]:
    found = source.lstat()
    return found.st_dev, found.st_ino


class _Disk:
    """What lies on the disk now: the tree, less what was taken away."""

    def __init__(self, base: RootTree, folders: set[str]) -> None:
        self._base = base
        self._folders = folders
        """Paths that the entries have as folders."""
        self._gone: set[str] = set()

    def place(self, path: str) -> str:
        """The path on the disk for one of an entry: folders of it may be links on the disk."""
        parent, _, name = path.rpartition("/")
        place = f"{self.place(parent)}/{name}" if parent else name
        if path in self._folders and self._is_link(place):
            target = self._base.resolved(f"/{place}")
            if target is not None and (self._base.root / target[1:]).is_dir():
                return target[1:]
        return place

    def looks(self, place: str) -> os.stat_result | None:
        """What is at a place, if anything is."""
        path = self._base.root
        for part in place.split("/"):
            # Nothing is seen through a link: it might lead out of the tree.
            if path.is_symlink():
                return None
            path /= part
            if str(path.relative_to(self._base.root)) in self._gone:
                return None
        return path.lstat() if os.path.lexists(path) else None

    def take(self, place: str) -> Iterator[tuple[str, bool]]:
        """Everything at and below a place as path and "is a folder", what lies deepest first."""
        found = self.looks(place)
        if found is None:
            return
        if stat.S_ISDIR(found.st_mode):
            yield from self.take_content(place)
        self._gone.add(place)
        yield place, stat.S_ISDIR(found.st_mode)

    def take_content(self, place: str) -> Iterator[tuple[str, bool]]:
        """The same for what lies below a place."""
        inner = [
            (f"{place}/{path}", entry.is_dir(follow_symlinks=False))
            for path, entry in walk(self._base.root / place)
        ]
        for path, is_folder in sorted(inner, key=lambda one: one[0].split("/"), reverse=True):
            if path not in self._gone:
                self._gone.add(path)
                yield path, is_folder

    def _is_link(self, place: str) -> bool:
        found = self.looks(place)
        return found is not None and stat.S_ISLNK(found.st_mode)


@dataclass(frozen=True)
class _Planner:
    disk: _Disk
    changes: DiskChanges
    names: dict[tuple[int, int], list[str]]

    def delete(self, path: str) -> None:
        """Carry a whiteout or an opaque mark out."""
        folder, _, name = path.rpartition("/")
        place = self.disk.place(folder) if folder else ""
        if name == OPAQUE:
            found = self.disk.take_content(place)
        else:
            found = self.disk.take(f"{place}/{name.removeprefix(WHITEOUT)}".lstrip("/"))
        self._remove(found)

    def put(self, entry: LayerEntry) -> None:
        """Have the entry on the disk, in place of what was there."""
        place = self.disk.place(entry.path)
        there = self.disk.looks(place)
        looks = Looks(f"/{place}", entry.mode, entry.uid, entry.gid, entry.mtime)
        if entry.is_folder and there is not None and stat.S_ISDIR(there.st_mode):
            if place == entry.path and _differs(there, looks):
                self.changes.commands.extend(set_looks(looks))
            return
        self._remove(self.disk.take(place))
        kinds: dict[int, Callable[[Looks, LayerEntry], None]] = {
            stat.S_IFDIR: self._folder,
            stat.S_IFREG: self._file,
            stat.S_IFLNK: self._link,
            stat.S_IFIFO: self._fifo,
        }
        kinds.get(stat.S_IFMT(entry.mode), _refuse)(looks, entry)

    def _remove(self, found: Iterator[tuple[str, bool]]) -> None:
        self.changes.commands.extend(
            remove(f"/{path}", folder=is_folder) for path, is_folder in found
        )

    def _folder(self, looks: Looks, _entry: LayerEntry) -> None:
        self.changes.commands.extend(make_folder(looks))

    def _file(self, looks: Looks, entry: LayerEntry) -> None:
        assert entry.source is not None
        names = self.names[_identity(entry.source)]
        if names[0] != entry.path:
            first = self.disk.place(names[0])
            self.changes.commands.append(add_name(looks.path, f"/{first}"))
            return
        number = len(self.changes.sources)
        self.changes.sources.append(entry.source)
        self.changes.commands.extend(write_file(looks, f"{FILES}/{number}", len(names)))
        if CAPABILITY in os.listxattr(entry.source):
            self.changes.capabilities[number] = os.getxattr(entry.source, CAPABILITY)
            attribute = f"{FILES}/{number}.capability"
            self.changes.commands.append(set_capability(looks.path, attribute))

    def _link(self, looks: Looks, entry: LayerEntry) -> None:
        assert entry.source is not None
        self.changes.commands.extend(make_link(looks, str(entry.source.readlink())))

    def _fifo(self, looks: Looks, _entry: LayerEntry) -> None:
        self.changes.commands.extend(make_fifo(looks))


def _differs(there: os.stat_result, looks: Looks) -> bool:
    known = (there.st_mode, there.st_uid, there.st_gid, int(there.st_mtime))
    return known != (looks.mode, looks.uid, looks.gid, looks.mtime)


def _refuse(looks: Looks, _entry: LayerEntry) -> None:
    raise ArtifactRejected(
        f"{looks.path} is a device node or a socket",
        hint="let the machine's udev or the service itself make it when it starts",
    )

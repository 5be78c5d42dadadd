"""The files of a running container as its own programs see them: volumes and tmpfs included.

They are reached through ``/proc/<pid>/root`` of its first process, which takes a host worker that
runs as root. Every path is resolved by the kernel within that root, so no link in it leads to a
file of the host. What is no file on a disk (``/proc``, ``/sys``, devices) is never read, and
neither are the task's secrets: they must not come to lie in the object store.
"""

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from fleetwide.containers.company import SECRETS
from fleetwide.containers.links_in_tars import stays_inside
from fleetwide.errors import BuildFailed, Conflict, InvalidInput, LimitExceeded, NotFound
from fleetwide.models.errands import MAX_ENTRIES, FileEntry, FileKind, FileListing
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.root_tree import RootTree

VIRTUAL = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs"}
)
MAX_DEPTH = 100
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20
# As a tar of a folder may be unpacked by anybody: no setuid, no foreign owners.
_PERMISSIONS = 0o755


@contextmanager
def container_root(host: ContainerHost, container: str) -> Iterator["ContainerFiles"]:
    """The files of a container that runs on this machine.

    Raises ``Conflict`` when it does not run, or when this process may not look into it.
    """
    found = _inspect(host, container)
    pid = int(found["State"]["Pid"])
    try:
        tree = RootTree(Path(f"/proc/{pid}/root"))
    except PermissionError as error:
        raise Conflict(
            "the host worker may not look into containers", hint="run it as root"
        ) from error
    except OSError as error:
        raise Conflict("the container has just ended") from error
    with tree:
        # What the number meant when it was opened: numbers are given out again.
        if _inspect(host, container)["State"]["Pid"] != pid:
            raise Conflict("the container has just ended")
        yield ContainerFiles(tree, _virtual_devices(pid) | _secret_devices(tree, found))


def _inspect(host: ContainerHost, container: str) -> dict[str, Any]:
    with host.engine(f"look into {container}") as api:
        found: dict[str, Any] = api.inspect_container(container)
    if not found["State"]["Running"]:
        raise Conflict("the container does not run")
    return found


def _secret_devices(tree: RootTree, found: dict[str, Any]) -> set[int]:
    """The device numbers of the memory that the task's secrets lie in."""
    devices = set()
    for mount in found["Mounts"]:
        if f".{SECRETS}/" in mount["Source"]:
            with suppress(FileNotFoundError), tree.opened(mount["Destination"], os.O_PATH) as one:
                devices.add(os.fstat(one).st_dev)
    return devices


def _virtual_devices(pid: int) -> frozenset[int]:
    """The device numbers of file systems that are not made of files."""
    found = set()
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.partition(" ")[0] in VIRTUAL:
            major, _, minor = fields.split()[2].partition(":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


@dataclass(frozen=True)
class ContainerFiles:
    """The tree of one container while it runs."""

    tree: RootTree
    virtual: frozenset[int]

    def listing(self, path: str) -> FileListing:
        """A folder's entries, ``MAX_ENTRIES`` at most, or the one file.

        Raises ``NotFound`` when there is nothing at ``path``.
        """
        with self._opened(path, os.O_PATH) as found:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                entry = _entry(path.rpartition("/")[2], os.fstat(found), None)
                return FileListing(path=path, entries=[entry])
        with self._opened(path, _READ | os.O_DIRECTORY) as folder:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - a descriptor is no path
            shown = (_described(folder, name) for name in names[:MAX_ENTRIES])
            entries = [entry for entry in shown if entry is not None]
            return FileListing(path=path, entries=entries, more=len(names) > MAX_ENTRIES)

    def fetch(self, path: str, sink: IO[bytes], limit: int, go_on: Callable[[], None]) -> "Taken":
        """Write the file, or the folder as a tar, to ``sink``.

        ``go_on`` is called between pieces and may raise.

        Raises ``NotFound``, ``InvalidInput`` for what is neither, ``LimitExceeded``.
        """
        with self._opened(path, os.O_PATH) as found:
            mode, device = os.fstat(found).st_mode, os.fstat(found).st_dev
        if device in self.virtual or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise InvalidInput.for_field("path", "is no file or folder on a disk", given=path)
        bounded = _Bounded(sink, limit, go_on)
        if stat.S_ISDIR(mode):
            name = path.rstrip("/").rpartition("/")[2] or "root"
            with (
                self._opened(path, _READ | os.O_DIRECTORY) as folder,
                tarfile.open(fileobj=bounded, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                taken = _Packer(tar, self.virtual, Taken(name, folder=True))
                taken.pack(folder, "")
                return taken.taken
        with self._opened(path, _READ) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidInput.for_field("path", "is no file or folder on a disk", given=path)
            while piece := os.read(descriptor, _PIECE):
                bounded.write(piece)
        return Taken(path.rpartition("/")[2], folder=False)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        try:
            with self.tree.opened(path, flags) as descriptor:
                yield descriptor
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"there is no {path} in the container") from error
        except BuildFailed as error:
            raise InvalidInput.for_field("path", "goes through too many links") from error
        except OSError as error:
            raise InvalidInput.for_field("path", f"cannot be read: {error.strerror}") from error


@dataclass
class Taken:
    """What was fetched."""

    name: str
    folder: bool
    left_out: int = 0


class _Bounded(io.RawIOBase):
    """Hands on what is written until it is too much."""

    def __init__(self, sink: IO[bytes], limit: int, go_on: Callable[[], None]) -> None:
        self._sink = sink
        self._left = limit
        self._limit = limit
        self._go_on = go_on

    def write(self, data: bytes) -> int:  # type: ignore[override]  # one kind of buffer is enough
        self._go_on()
        self._left -= len(data)
        if self._left < 0:
            raise LimitExceeded(
                f"there are more than {self._limit} bytes", hint="ask for less, or with --limit"
            )
        return self._sink.write(data)


@dataclass
class _Packer:
    """Packs a folder; links are never followed, and only what is safe to unpack goes in."""

    tar: tarfile.TarFile
    virtual: frozenset[int]
    taken: Taken
    depth: int = field(default=0)

    def pack(self, folder: int, inside: str) -> None:
        for name in sorted(os.listdir(folder)):
            found = _status(folder, name)
            if found is None:
                continue
            self._pack_one(folder, inside, name, found)

    def _pack_one(self, folder: int, inside: str, name: str, found: os.stat_result) -> None:
        path = f"{inside}{name}"
        if found.st_dev in self.virtual:
            self.taken.left_out += 1
        elif stat.S_ISLNK(found.st_mode):
            self._pack_link(folder, inside, name, found)
        elif stat.S_ISREG(found.st_mode):
            self._pack_file(folder, path, name)
        elif stat.S_ISDIR(found.st_mode) and self.depth < MAX_DEPTH:
            self._pack_folder(folder, path, name, found)
        else:
            self.taken.left_out += 1

    def _pack_link(self, folder: int, inside: str, name: str, found: os.stat_result) -> None:
        target = _target(folder, name) or ""
        if not stays_inside(inside, target):
            self.taken.left_out += 1
            return
        member = _member(f"{inside}{name}", found)
        member.type, member.linkname = tarfile.SYMTYPE, target
        self.tar.addfile(member)

    def _pack_folder(self, folder: int, path: str, name: str, found: os.stat_result) -> None:
        inner = _inside(folder, name, _READ | os.O_DIRECTORY)
        if inner is None:
            return
        member = _member(path, found)
        member.type = tarfile.DIRTYPE
        self.tar.addfile(member)
        self.depth += 1
        try:
            # On the way in it may have been swapped for another folder, of another file system.
            if os.fstat(inner).st_dev not in self.virtual:
                self.pack(inner, f"{path}/")
        finally:
            self.depth -= 1
            os.close(inner)

    def _pack_file(self, folder: int, path: str, name: str) -> None:
        descriptor = _inside(folder, name, _READ)
        if descriptor is None:
            return
        with os.fdopen(descriptor, "rb") as reader:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_dev in self.virtual:
                self.taken.left_out += 1
                return
            member = _member(path, found)
            member.size = found.st_size
            self.tar.addfile(member, _Padded(reader))


class _Padded(io.RawIOBase):
    """A file that may shrink while it is read: what is missing of its size becomes zeros."""

    def __init__(self, reader: IO[bytes]) -> None:
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        return self._reader.read(size).ljust(size, b"\0")


def _inside(folder: int, name: str, flags: int) -> int | None:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return None  # gone, or swapped for something else, since it was looked at


def _member(path: str, found: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mode = stat.S_IMODE(found.st_mode) & _PERMISSIONS | stat.S_IRUSR | stat.S_IWUSR
    member.mtime = int(found.st_mtime)
    return member


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None  # gone since it was listed


def _target(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def _described(folder: int, name: str) -> FileEntry | None:
    found = _status(folder, name)
    if found is None:
        return None
    return _entry(name, found, _target(folder, name) if stat.S_ISLNK(found.st_mode) else None)


def _entry(name: str, found: os.stat_result, target: str | None) -> FileEntry:
    return FileEntry(
        name=_shown(name),
        kind=_kind(found.st_mode),
        size=found.st_size,
        mode=stat.filemode(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        modified_at=datetime.fromtimestamp(int(found.st_mtime), UTC),
        target=None if target is None else _shown(target),
    )


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _kind(mode: int) -> FileKind:
    if stat.S_ISREG(mode):
        return FileKind.FILE
    if stat.S_ISDIR(mode):
        return FileKind.FOLDER
    return FileKind.LINK if stat.S_ISLNK(mode) else FileKind.OTHER

"""Read and change files below a root, whatever symbolic links lie there.

A tree that scripts have worked in is hostile: ``/etc`` may be a link to ``/etc`` of the builder.
Every path is resolved by the kernel with the tree as its root (``openat2`` with RESOLVE_IN_ROOT),
so nothing outside can be reached. Source: openat2(2), Linux 5.6.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Self

from fleetwide.errors import BuildFailed, PlatformError

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class RootTree:
    """The files of one root file system. Paths are absolute, as a program inside would say them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.open(root, _FOLDER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def read(self, path: str, limit: int = -1) -> bytes | None:
        """The file's content, ``limit`` bytes at most; None when there is no such file."""
        try:
            with os.fdopen(self._open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
                is_file = stat.S_ISREG(os.fstat(reader.fileno()).st_mode)
                return reader.read(limit) if is_file else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def text(self, path: str) -> str:
        """The file's content as text; empty when there is no such file."""
        return (self.read(path) or b"").decode(errors="surrogateescape")

    def write(
        self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Write a file, in place of whatever had its name; missing folders are made."""
        with self._parent(path, make=True) as (folder, name):
            _remove(folder, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as writer:
                writer.write(content)
                os.fchown(writer.fileno(), uid, gid)
                os.fchmod(writer.fileno(), mode)

    def append(self, path: str, content: str) -> None:
        """Add to a file that is there, keeping its owner and mode; a link's target is changed."""
        with os.fdopen(self._open(path, os.O_WRONLY | os.O_APPEND), "wb") as writer:
            writer.write(content.encode(errors="surrogateescape"))

    def rewrite(self, path: str, content: bytes) -> None:
        """Other content for a file that is there, keeping its owner and mode."""
        with os.fdopen(self._open(path, os.O_WRONLY | os.O_TRUNC), "wb") as writer:
            writer.write(content)

    @contextmanager
    def opened(self, path: str, flags: int) -> Iterator[int]:
        """A descriptor of what lies at ``path``, links followed inside the tree."""
        descriptor = self._open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def exists(self, path: str) -> bool:
        """Whether there is anything at ``path``, links followed inside the tree."""
        try:
            os.close(self._open(path, os.O_PATH))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def stamp(self, path: str) -> tuple[int, ...] | None:
        """What tells one state of a file from another; None when there is no such file."""
        try:
            descriptor = self._open(path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def resolved(self, path: str) -> str | None:
        """Where ``path`` leads inside the tree, links followed; None when it leads to nothing."""
        try:
            descriptor = self._open(path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found, root = (
                str(Path(f"/proc/self/fd/{one}").readlink()) for one in (descriptor, self._root)
            )
        finally:
            os.close(descriptor)
        return found.removeprefix(root) or "/"

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, in place of whatever had its name."""
        with self._parent(path, make=True) as (folder, name):
            _remove(folder, name)
            os.symlink(target, name, dir_fd=folder)

    def make_folder(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A folder with that owner and mode; its missing parents belong to root."""
        with self._parent(f"{path}/.", make=True) as (folder, _):
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
            try:
                os.fchown(descriptor, uid, gid)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove a file or link; a folder stays, and a missing one counts as removed."""
        try:
            with self._parent(path, make=False) as (folder, name):
                _remove(folder, name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return

    def truncate(self, path: str) -> None:
        """Empty a file that is there."""
        os.close(self._open(path, os.O_WRONLY | os.O_TRUNC))

    def names(self, path: str) -> list[str]:
        """The names in a folder, in order; none when there is no such folder."""
        try:
            descriptor = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return sorted(os.listdir(descriptor))  # noqa: PTH208 - a descriptor is no path
        finally:
            os.close(descriptor)

    def files(self, path: str) -> Iterator[str]:
        """Every regular file below a folder; links are not followed."""
        for name in self.names(path):
            inner = f"{path}/{name}"
            with self._parent(inner, make=False) as (folder, last):
                mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from self.files(inner)
            elif stat.S_ISREG(mode):
                yield inner

    def _open(self, path: str, flags: int) -> int:
        how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        number = errno.EAGAIN
        # Any rename on the machine can disturb a walk through "..": the kernel says try again.
        while number == errno.EAGAIN:
            descriptor: int = _libc.syscall(
                ctypes.c_long(SYS_OPENAT2),
                ctypes.c_int(self._root),
                os.fsencode(path),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
            if descriptor >= 0:
                return descriptor
            number = ctypes.get_errno()
        if number == errno.ENOSYS:
            raise PlatformError("the builder's Linux is older than 5.6 and has no openat2")
        if number == errno.ELOOP:
            raise BuildFailed(f"{path}: too many symbolic links")
        raise OSError(number, os.strerror(number), path)

    @contextmanager
    def _parent(self, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """The folder that ``path`` lies in, and its last part."""
        parent, _, name = path.rpartition("/")
        if make:
            self._make_folders(PurePosixPath(parent or "/"))
        folder = self._open(parent or "/", _FOLDER)
        try:
            yield folder, name
        finally:
            os.close(folder)

    def _make_folders(self, folder: PurePosixPath) -> None:
        try:
            os.close(self._open(str(folder), _FOLDER))
        except FileNotFoundError:
            self._make_folders(folder.parent)
            above = self._open(str(folder.parent), _FOLDER)
            try:
                os.mkdir(folder.name, 0o755, dir_fd=above)
                os.chmod(folder.name, 0o755, dir_fd=above)  # noqa: S103 - folders of an image
            finally:
                os.close(above)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return

"""Unpack a tarball from a stranger into a staging folder, entry by checked entry."""

import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from fleetwide.bakery.entries import Budget, checked_link, checked_path, refused_kind
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.progress import Progress, Throttled

# tarfile reads a PAX header in one piece: a bound keeps a bomb out of memory.
MAX_PIECE = 4 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"


class _Bounded(io.RawIOBase):
    """A reader that refuses to return a huge piece at once."""

    def __init__(self, inner: BinaryIO, archive: str) -> None:
        self._inner = inner
        self._archive = archive

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_PIECE:
            raise ArtifactRejected(f"{self._archive}: a header of the tar has {size} bytes")
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()


def unpack_tarball(source: Path, name: str, staging: Path, root: str, progress: Progress) -> None:
    """Unpack ``source`` (.tar, .tar.gz or .tar.xz) into ``staging`` + ``root``.

    ``name`` is what people call the file, ``root`` the absolute folder in the image. Raises
    ``ArtifactRejected`` naming the entry for absolute paths, ``..``, links that leave the tree,
    device nodes, and more entries or bytes than allowed. Setuid and setgid bits are not kept.
    """
    tree = staging / root.lstrip("/")
    tree.mkdir(parents=True)
    told = Throttled(progress)
    budget = Budget(name)
    try:
        with (
            _plain(source) as plain,
            tarfile.open(fileobj=cast("BinaryIO", _Bounded(plain, name)), mode="r:") as archive,
        ):
            for member in archive:
                told("unpacking", None)
                budget.take(member.name, member.size if member.isreg() else 0)
                _Unpacker(archive, tree, root, name).add(member)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ArtifactRejected(
            f"{name} is not a readable .tar, .tar.gz or .tar.xz: {error}"
        ) from error
    if budget.entries == 0:
        raise ArtifactRejected(f"{name} holds nothing")
    _check_links(tree, name)


def _plain(source: Path) -> BinaryIO:
    with source.open("rb") as reader:
        magic = reader.read(len(XZ_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        return cast("BinaryIO", gzip.open(source, "rb"))
    if magic == XZ_MAGIC:
        return cast("BinaryIO", lzma.open(source, "rb"))
    return source.open("rb")


class _Unpacker:
    def __init__(self, archive: tarfile.TarFile, tree: Path, root: str, name: str) -> None:
        self._archive = archive
        self._tree = tree
        self._root = root
        self._name = name

    def add(self, member: tarfile.TarInfo) -> None:
        path = checked_path(member.name, self._name)
        if not path:
            return
        target = self._place(path)
        if member.isdir():
            target.mkdir(exist_ok=True)
        elif member.isreg():
            self._file(member, target)
        elif member.issym():
            link = checked_link(path, member.linkname, self._root, self._name)
            target.unlink(missing_ok=True)
            target.symlink_to(link)
        elif member.islnk():
            self._hard_link(member, target)
        else:
            kind = "device node" if member.isdev() else "member of an unknown kind"
            raise refused_kind(self._name, member.name, kind)

    def _place(self, path: str) -> Path:
        """The place of ``path``, whose parents are made and are no links."""
        *parents, last = path.split("/")
        folder = self._tree
        for part in parents:
            folder /= part
            if not os.path.lexists(folder):
                folder.mkdir()
            if folder.is_symlink() or not folder.is_dir():
                raise ArtifactRejected(
                    f"{self._name}: entry {path!r} passes through {part!r}, which is no folder"
                )
        target = folder / last
        if target.is_symlink():
            target.unlink()
        return target

    def _file(self, member: tarfile.TarInfo, target: Path) -> None:
        content = self._archive.extractfile(member)
        assert content is not None
        target.unlink(missing_ok=True)
        with target.open("xb") as writer:
            shutil.copyfileobj(content, writer, 256 * 1024)
        target.chmod(0o755 if member.mode & 0o111 else 0o644)

    def _hard_link(self, member: tarfile.TarInfo, target: Path) -> None:
        source = self._place(checked_path(member.linkname, self._name))
        if not stat.S_ISREG(source.lstat().st_mode if source.exists() else 0):
            raise ArtifactRejected(
                f"{self._name}: entry {member.name!r} is a hard link to {member.linkname!r}, "
                "which is no file of the archive before it"
            )
        target.unlink(missing_ok=True)
        os.link(source, target)


def _check_links(tree: Path, name: str) -> None:
    """Refuse links that leave the tree by way of other links."""
    real = os.path.realpath(tree)
    for folder, folders, files in os.walk(tree):
        for entry in (*folders, *files):
            path = Path(folder, entry)
            if not path.is_symlink():
                continue
            reached = os.path.realpath(path)
            if reached != real and not reached.startswith(f"{real}/"):
                raise ArtifactRejected(
                    f"{name}: entry {str(path.relative_to(tree))!r} is a link that leaves the tree"
                )

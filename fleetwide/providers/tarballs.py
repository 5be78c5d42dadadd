"""Unpack a tarball from a stranger into a staging folder, entry by checked entry."""

import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from fleetwide.bakery.entries import Budget, checked_link, checked_path, refused_kind
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.read_ahead import ReadAhead, gunzipped, unxzed
from fleetwide.providers.unpacking import PIECE_BYTES, BoundedReader, StagedTree

# tarfile reads a PAX header in one piece: a bound keeps a bomb out of memory.
MAX_PIECE = 4 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"
UNREADABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


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
    staged = StagedTree(tree, name)
    with open_tar(source, name) as archive:
        for member in archive:
            told(f"unpacking {name}", None)
            budget.take(member.name, member.size if member.isreg() else 0)
            _Unpacker(archive, staged, root, name, told).add(member)
    if budget.entries == 0:
        raise ArtifactRejected(f"{name} holds nothing")
    staged.check_links()


@contextmanager
def open_tar(source: Path, name: str) -> Iterator[tarfile.TarFile]:
    """The archive for reading from front to back; what cannot be read is ``ArtifactRejected``."""
    try:
        with (
            plain_tar(source) as plain,
            tarfile.open(
                fileobj=cast("BinaryIO", BoundedReader(plain, name, MAX_PIECE)), mode="r:"
            ) as archive,
        ):
            yield archive
    except UNREADABLE as error:
        raise ArtifactRejected(
            f"{name} is not a readable .tar, .tar.gz or .tar.xz: {error}"
        ) from error


def plain_tar(source: Path) -> BinaryIO:
    """The tar within ``source``, which may be compressed by gzip or xz."""
    with source.open("rb") as reader:
        magic = reader.read(len(XZ_MAGIC))
    packed = source.open("rb")
    if magic.startswith(GZIP_MAGIC):
        return cast("BinaryIO", ReadAhead(gunzipped(packed), packed))
    if magic == XZ_MAGIC:
        return cast("BinaryIO", ReadAhead(unxzed(packed), packed))
    return packed


class _Unpacker:
    def __init__(
        self,
        archive: tarfile.TarFile,
        tree: StagedTree,
        root: str,
        name: str,
        progress: Progress,
    ) -> None:
        self._archive = archive
        self._tree = tree
        self._root = root
        self._name = name
        self._progress = progress

    def add(self, member: tarfile.TarInfo) -> None:
        path = checked_path(member.name, self._name)
        if not path:
            return
        self._adder(member)(member, path)

    def _adder(self, member: tarfile.TarInfo) -> Callable[[tarfile.TarInfo, str], None]:
        if member.isdir():
            return self._folder
        if member.isreg():
            return self._file
        if member.issym():
            return self._link
        if member.islnk():
            return self._hard_link
        kind = "device node" if member.isdev() else "member of an unknown kind"
        raise refused_kind(self._name, member.name, kind)

    def _folder(self, _member: tarfile.TarInfo, path: str) -> None:
        self._tree.folder(path)

    def _file(self, member: tarfile.TarInfo, path: str) -> None:
        with self._tree.create(path) as writer:
            os.fchmod(writer.fileno(), 0o755 if member.mode & 0o111 else 0o644)
            for piece in self._content(member):
                writer.write(piece)
                self._progress(f"unpacking {self._name}", None)

    def _content(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Read straight from the archive, which stands at the content already."""
        if member.issparse():
            content = self._archive.extractfile(member)
            assert content is not None
            yield from iter(partial(content.read, PIECE_BYTES), b"")
            return
        plain = self._archive.fileobj
        assert plain is not None
        plain.seek(member.offset_data)
        left = member.size
        while left:
            piece = plain.read(min(left, PIECE_BYTES))
            if not piece:
                raise tarfile.ReadError("unexpected end of data")
            left -= len(piece)
            yield piece

    def _link(self, member: tarfile.TarInfo, path: str) -> None:
        self._tree.link(path, checked_link(path, member.linkname, self._root, self._name))

    def _hard_link(self, member: tarfile.TarInfo, path: str) -> None:
        self._tree.hard_link(path, checked_path(member.linkname, self._name))

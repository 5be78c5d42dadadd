"""Unpack a tarball from a stranger into a staging folder, entry by checked entry."""

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from fleetwide.bakery.entries import Budget, checked_link, checked_path, refused_kind
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.unpacking import BoundedReader, StagedTree

# tarfile reads a PAX header in one piece: a bound keeps a bomb out of memory.
MAX_PIECE = 4 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"
# What xz -9 needs; a stranger's file may ask for gigabytes.
MAX_XZ_MEMORY = 128 * 1024 * 1024
UNREADABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class _XzReader(io.RawIOBase):
    """Plain bytes of an .xz file, within ``MAX_XZ_MEMORY``; it can only go forward."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._decompressor = self._fresh()
        self._place = 0

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)

    def read(self, size: int = -1) -> bytes:
        found = bytearray()
        while len(found) < size:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data or self._packed.read(io.DEFAULT_BUFFER_SIZE)
                if not rest.strip(b"\0"):
                    break
                self._decompressor = self._fresh()
            else:
                rest = self._more()
            found += self._decompressor.decompress(rest, size - len(found))
        self._place += len(found)
        return bytes(found)

    def _more(self) -> bytes:
        if not self._decompressor.needs_input:
            return b""
        rest = self._packed.read(io.DEFAULT_BUFFER_SIZE)
        if not rest:
            raise EOFError("the compressed file ends in the middle")
        return rest

    def seek(self, offset: int, _whence: int = io.SEEK_SET) -> int:
        while self._place < offset and self.read(min(offset - self._place, MAX_PIECE)):
            pass
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._packed.close()
        super().close()


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
    if magic.startswith(GZIP_MAGIC):
        return cast("BinaryIO", gzip.open(source, "rb"))
    if magic == XZ_MAGIC:
        return cast("BinaryIO", _XzReader(source.open("rb")))
    return source.open("rb")


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
        content = self._archive.extractfile(member)
        assert content is not None
        target = self._tree.file(path, content, self._progress)
        target.chmod(0o755 if member.mode & 0o111 else 0o644)

    def _link(self, member: tarfile.TarInfo, path: str) -> None:
        self._tree.link(path, checked_link(path, member.linkname, self._root, self._name))

    def _hard_link(self, member: tarfile.TarInfo, path: str) -> None:
        self._tree.hard_link(path, checked_path(member.linkname, self._name))

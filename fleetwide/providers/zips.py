"""Unpack a zip from a stranger into a staging folder, entry by checked entry."""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from fleetwide.bakery.entries import Budget, checked_link, checked_path, refused, refused_kind
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.deflated import DeflatedFiles, EntryReader
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.side_by_side import SideBySide, side_by_side
from fleetwide.providers.unpacking import BoundedReader, StagedTree

# zipfile reads the whole directory of an archive; this much lists some 200,000 entries.
MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
MAX_LINK_BYTES = 4096
# What zipfile raises about an archive that is damaged, or made to damage.
UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    struct.error,
    ValueError,
    OverflowError,
    NotImplementedError,
)
_UNIX = 3
_ENCRYPTED = 0x1
# The others may ask for gigabytes of memory to unpack, and hardly anybody writes them.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def unpack_zip(
    source: Path, name: str, staging: Path, root: str, progress: Progress
) -> DeflatedFiles:
    """Unpack ``source`` into ``staging`` + ``root``, by the rules of ``unpack_tarball``.

    Answers which of its files lie in it deflated. Raises ``ArtifactRejected`` besides for encrypted
    entries, names that stand there twice, and an archive that unpacks to far more than its size.
    """
    tree = staging.absolute() / root.lstrip("/")
    tree.mkdir(parents=True)
    tell = partial(Throttled(progress), f"unpacking {name}", None)
    staged = StagedTree(tree, name)
    with (
        open_zip(source, name) as archive,
        EntryReader(source) as entries,
        side_by_side("zip", tell) as writes,
    ):
        unpacker = _Unpacker(archive, entries, writes, staged, root)
        for entry, path in checked_entries(archive, name, source.stat().st_size):
            tell()
            if path:
                unpacker.add(entry, path)
    staged.check_links()
    return unpacker.deflated


@contextmanager
def open_zip(source: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """The archive for reading; what cannot be read in the block is ``ArtifactRejected``."""
    try:
        with (
            source.open("rb") as plain,
            zipfile.ZipFile(
                cast("BinaryIO", BoundedReader(plain, name, MAX_DIRECTORY_BYTES))
            ) as archive,
        ):
            yield archive
    except UNREADABLE as error:
        raise ArtifactRejected(f"{name} is not a readable zip: {error}") from error


def checked_entries(
    archive: zipfile.ZipFile, name: str, packed: int
) -> list[tuple[zipfile.ZipInfo, str]]:
    """The entries of a zip of ``packed`` bytes, each with its path ("" is the root itself).

    zipfile unpacks no more of an entry than the size that is counted here.
    """
    budget = Budget.of_zip(name, packed)
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        budget.take(entry.filename, entry.file_size)
        path = checked_path(entry.filename, name)
        if path in found:
            raise refused(name, entry.filename, "a name that another entry has")
        if entry.flag_bits & _ENCRYPTED:
            raise refused(name, entry.filename, "its content encrypted")
        if entry.compress_type not in _METHODS:
            raise refused(name, entry.filename, "a compression other than deflate")
        found[path] = entry
    if not found:
        raise ArtifactRejected(f"{name} holds nothing")
    return [(entry, path) for path, entry in found.items()]


class _Unpacker:
    """Puts entries at their places in their order; files are filled side by side."""

    def __init__(
        self,
        archive: zipfile.ZipFile,
        entries: EntryReader,
        writes: SideBySide,
        tree: StagedTree,
        root: str,
    ) -> None:
        self.deflated: DeflatedFiles = {}
        self._archive = archive
        self._entries = entries
        self._writes = writes
        self._tree = tree
        self._root = root

    def add(self, entry: zipfile.ZipInfo, path: str) -> None:
        mode = entry.external_attr >> 16 if entry.create_system == _UNIX else 0
        kind = stat.S_IFMT(mode)
        if entry.is_dir() or kind == stat.S_IFDIR:
            self._tree.folder(path)
        elif kind == stat.S_IFLNK:
            self._link(entry, path)
        elif kind in (0, stat.S_IFREG):
            writer = self._tree.create(path)
            os.fchmod(writer.fileno(), 0o755 if mode & 0o111 else 0o644)
            self._writes.start(partial(self._fill, entry, writer, f"{self._tree.root}/{path}"))
        else:
            raise refused_kind(self._tree.archive, entry.filename, "member of an unknown kind")

    def _fill(self, entry: zipfile.ZipInfo, writer: BinaryIO, place: str) -> None:
        def take(piece: bytes | bytearray) -> None:
            if self._writes.stopped:
                raise EOFError("nobody waits for the rest")
            writer.write(piece)

        with writer:
            deflated = self._entries.unpack(entry, take)
        if deflated is not None:
            self.deflated[place] = deflated

    def _link(self, entry: zipfile.ZipInfo, path: str) -> None:
        name = self._tree.archive
        if entry.file_size > MAX_LINK_BYTES:
            raise refused(name, entry.filename, "a link that is too long")
        target = self._archive.read(entry).decode(errors="surrogateescape")
        if "\0" in target:
            raise refused(name, entry.filename, "a link with a zero byte")
        self._tree.link(path, checked_link(path, target, self._root, name))

"""Write a folder as a deterministic layer tar.

Entries are sorted by path, owners are numbers, times never pass the source date epoch, and only
entries that need one carry a PAX header: the same tree gives the same bytes.
"""

import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleetwide.errors import PlatformError
from fleetwide.providers.compress import Compressed, FastMembers, GzipPacker, packing
from fleetwide.providers.deflated import Deflated, gzip_member
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.tar_headers import ending, header_of, padding

KEPT_XATTRS = ("security.capability",)
_PLAIN = 0o100000
_COPIED_AT_ONCE = 1024 * 1024
VOLATILE = ("dev/", "proc/", "run/", "sys/", "tmp/")


@dataclass(frozen=True)
class LayerEntry:
    """One entry: ``path`` in the layer, ``source`` on disk; a deletion has no source."""

    path: str
    source: Path | None
    mode: int = _PLAIN
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    deflated: Deflated | None = None
    """Where the content of ``source`` lies deflated already."""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below ``root`` with its relative path; parents come before their content."""
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as found:
            for entry in found:
                path = f"{prefix}{entry.name}"
                yield path, entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((folder / entry.name, f"{path}/"))


def plain_entries(
    root: Path, epoch: int, deflated: Mapping[str, Deflated] | None = None
) -> list[LayerEntry]:
    """The tree as files of root with normal modes (755 or 644), all at the ``epoch``.

    ``deflated`` has what lies deflated already of the files, by their absolute paths.
    """
    entries, ready = [], deflated or {}
    for path, found in walk(root.absolute()):
        mode = _normal(found.stat(follow_symlinks=False).st_mode)
        source, packed = Path(found.path), ready.get(found.path)
        entries.append(LayerEntry(path, source, mode, mtime=epoch, deflated=packed))
    return entries


def tree_entries(root: Path, epoch: int) -> list[LayerEntry]:
    """A root file system as it is, less what every start makes anew; no time is past ``epoch``."""
    entries = []
    for path, found in walk(root):
        if path.startswith(VOLATILE):
            continue
        info = found.stat(follow_symlinks=False)
        if stat.S_ISSOCK(info.st_mode):
            continue
        entries.append(
            LayerEntry(
                path,
                Path(found.path),
                info.st_mode,
                info.st_uid,
                info.st_gid,
                min(int(info.st_mtime), epoch),
            )
        )
    return entries


def _normal(mode: int) -> int:
    if stat.S_ISLNK(mode):
        return stat.S_IFLNK | 0o777
    executable = stat.S_ISDIR(mode) or mode & 0o111
    return stat.S_IFMT(mode) | (0o755 if executable else 0o644)


def write_layer(entries: list[LayerEntry], target: Path, progress: Progress) -> None:
    """Write ``entries`` as an uncompressed tar to ``target``."""
    with target.open("wb") as writer:
        _write(entries, writer, progress)


def pack_layer(entries: list[LayerEntry], target: Path, progress: Progress) -> Compressed:
    """Write ``entries`` as a bake's layer to ``target``: the same tar, gzipped while it is made.

    It is packed for speed, since a bake is waited for: what is deflated already stays as it is.
    """
    with packing(target, FastMembers()) as packer:
        _write(entries, packer, progress)
        return Compressed(target, packer.finish(), packer.tell())


class _Sink(Protocol):
    """What a tar is written to."""

    def write(self, data: bytes, /) -> int: ...

    def tell(self) -> int: ...


def _write(entries: list[LayerEntry], target: _Sink, progress: Progress) -> None:
    told = Throttled(progress)
    first_of: dict[tuple[int, int], str] = {}
    ordered = sorted(entries, key=lambda entry: entry.path.split("/"))
    for number, entry in enumerate(ordered):
        told("writing the layer", number / len(ordered))
        _add(target, entry, first_of)
    target.write(ending(target.tell()))


def _add(target: _Sink, entry: LayerEntry, first_of: dict[tuple[int, int], str]) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mode, info.uid, info.gid = stat.S_IMODE(entry.mode), entry.uid, entry.gid
    info.mtime = entry.mtime
    if entry.source is None:
        target.write(header_of(info))
        return
    found = entry.source.lstat()
    _TYPES.get(stat.S_IFMT(entry.mode), _special)(info, entry.source)
    if info.type == tarfile.REGTYPE and found.st_nlink > 1:
        first = first_of.setdefault((found.st_dev, found.st_ino), entry.path)
        if first != entry.path:
            info.type, info.linkname = tarfile.LNKTYPE, first
    if info.type != tarfile.REGTYPE:
        target.write(header_of(info))
        return
    info.size = found.st_size
    info.pax_headers = _xattrs(entry.source)
    target.write(header_of(info))
    content = _pieces(entry.source, info.size)
    if entry.deflated is not None and isinstance(target, GzipPacker):
        target.splice(content, gzip_member(entry.deflated))
    else:
        for piece in content:
            target.write(piece)
    target.write(padding(info.size))


def _pieces(source: Path, size: int) -> Iterator[bytes]:
    with source.open("rb", buffering=0) as reader:
        left = size
        while left:
            piece = reader.read(min(left, _COPIED_AT_ONCE))
            if not piece:
                raise PlatformError(f"{source} became shorter while its layer was written")
            left -= len(piece)
            yield piece


def _regular(_info: tarfile.TarInfo, _source: Path) -> None:
    """A regular file is what a TarInfo is when nothing else is said."""


def _folder(info: tarfile.TarInfo, _source: Path) -> None:
    info.type = tarfile.DIRTYPE


def _link(info: tarfile.TarInfo, source: Path) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, str(source.readlink())


def _special(info: tarfile.TarInfo, source: Path) -> None:
    found = source.lstat()
    kinds = {
        stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
    }
    info.type = kinds[stat.S_IFMT(found.st_mode)]
    if info.type != tarfile.FIFOTYPE:
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)


_TYPES: dict[int, Callable[[tarfile.TarInfo, Path], None]] = {
    stat.S_IFREG: _regular,
    stat.S_IFDIR: _folder,
    stat.S_IFLNK: _link,
}


def _xattrs(source: Path) -> dict[str, str]:
    """Extended attributes as PAX headers; bytes that are no text pass as surrogates."""
    return {
        f"SCHILY.xattr.{name}": os.getxattr(source, name).decode(errors="surrogateescape")
        for name in os.listxattr(source)
        if name in KEPT_XATTRS
    }

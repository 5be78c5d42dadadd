"""The words that make an ext4 file system: options of mke2fs(8), a script for debugfs(8)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fleetwide.baseos.disks import (
    BLOCK,
    INODE_SIZE,
    ROOT_LABEL,
    DiskIds,
    Partition,
    Usage,
    inode_count,
    journal_mib,
)
from fleetwide.errors import BuildFailed

FIRST_INODE = 11
"""lost+found; those before it belong to the file system itself."""

# Written out, since defaults differ between releases and GRUB does not read all of the newer ones
# (metadata_csum_seed).
_FEATURES = (
    "none,sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr,has_journal,extent,"
    "huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize"
)
_ROOT_INODE = 2
_ROOT_MODE = 0o040755
_FILE_MODE = 0o100644


def mke2fs_command(disk: str, tree: str, root: Partition, usage: Usage, ids: DiskIds) -> str:
    """Make the root file system of ``tree`` at its place on ``disk``."""
    # All tables are written out now: else the booted machine spends its first minutes on it.
    extended = (
        f"offset={root.start},hash_seed={ids.hash_seed},"
        "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
    )
    return (
        f"mke2fs -q -F -t ext4 -O {_FEATURES} -b {BLOCK} -I {INODE_SIZE} "
        f"-N {inode_count(root.size, usage)} -J size={journal_mib(root.size)} -m 1 "
        f"-L {ROOT_LABEL} -U {ids.root} -E {extended} -d {tree} {disk} {root.size // 1024}k"
    )


@dataclass(frozen=True)
class AddedFile:
    """A file that goes into the image and not into the tree."""

    path: str
    """Absolute; of root, mode 0644."""
    source: str
    """Where debugfs finds the content."""
    replaces: bool
    """The tree has a file of that name."""


@dataclass(frozen=True)
class Touches:
    """What is to be changed in a file system after mke2fs has filled it."""

    time: int
    """Seconds since 1970 for each access and change time."""
    inodes: int
    """How many inodes are in use; they are the first ones."""
    late: tuple[str, ...]
    """Relative paths whose modification time becomes the epoch."""
    epoch: int
    folders: tuple[str, ...]
    """Absolute paths of folders to make, parents first."""
    files: tuple[AddedFile, ...]


def debugfs_script(touches: Touches) -> bytes:
    """The commands that make the bytes depend on nothing but the tree.

    mke2fs copies access and change times, which tell when the tree was made on the builder. Raises
    ``BuildFailed`` for a file name that debugfs has no words for.
    """
    lines = [*_times(touches), *_late_times(touches), *_additions(touches)]
    return b"".join(line + b"\n" for line in lines)


def _times(touches: Touches) -> Iterator[bytes]:
    for field, value in (("mode", f"{_ROOT_MODE:o}"), ("uid", 0), ("gid", 0)):
        yield f"sif <{_ROOT_INODE}> {field} 0{value}".encode()
    yield from _clock(f"<{_ROOT_INODE}>", "mtime", touches.time)
    for inode in (_ROOT_INODE, *range(FIRST_INODE, touches.inodes + 1)):
        yield from _clock(f"<{inode}>", "atime", touches.time)
        yield from _clock(f"<{inode}>", "ctime", touches.time)


def _clock(inode: str, field: str, time: int) -> Iterable[bytes]:
    return [f"sif {inode} {field} @{time}".encode()]


def _late_times(touches: Touches) -> Iterator[bytes]:
    for path in touches.late:
        yield b"sif %b mtime @%d" % (quoted(f"/{path}"), touches.epoch)


def quoted(word: str) -> bytes:
    """A path, name or target as debugfs reads it; ``BuildFailed`` when it has no words for it."""
    if "\n" in word or "\r" in word:
        raise BuildFailed(
            f"the file name {word!r} holds a line break",
            hint="remove the file in a script, or give it another name",
        )
    return b'"%b"' % word.encode(errors="surrogateescape").replace(b'"', b'""')


def _additions(touches: Touches) -> Iterator[bytes]:
    for folder in touches.folders:
        yield f"mkdir {folder}".encode()
    for file in touches.files:
        folder, _, name = file.path.rpartition("/")
        if file.replaces:
            yield f"rm {file.path}".encode()
        # debugfs writes into its current folder only.
        yield from (
            line.encode()
            for line in (
                f"cd {folder}",
                f"write {file.source} {name}",
                f"sif {name} mode 0{_FILE_MODE:o}",
            )
        )

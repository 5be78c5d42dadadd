"""The words that change an ext4 file system that nobody has mounted: commands for debugfs(8).

Times of access, change and creation are those of ``E2FSPROGS_FAKE_TIME``; the time of modification
is set for each thing. Paths are absolute inside the file system: debugfs takes another word, such
as ``<12>``, for the number of an inode.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import split

from fleetwide.baseos.ext4 import quoted
from fleetwide.errors import BuildFailed

CAPABILITY = "security.capability"
# debugfs reads its script in pieces of 8192 bytes and takes each for a command.
MAX_LINE = 8000


@dataclass(frozen=True)
class Looks:
    """What a file is like, apart from its content."""

    path: str
    """Absolute, inside the file system."""
    mode: int
    """With the bits of the file's type."""
    uid: int
    gid: int
    mtime: int
    """Seconds since 1970."""


def script(lines: Iterator[bytes]) -> bytes:
    """The commands as one script; ``BuildFailed`` for one that is longer than debugfs can read."""
    whole = list(lines)
    for line in whole:
        if len(line) > MAX_LINE:
            raise BuildFailed(f"a path or a link is too long for the disk: {line[:200]!r}...")
    return b"".join(line + b"\n" for line in whole)


def remove(path: str, *, folder: bool) -> bytes:
    """Take a file or an empty folder away."""
    return (b"rmdir " if folder else b"rm ") + quoted(path)


def set_looks(looks: Looks) -> Iterator[bytes]:
    """Mode, owner, group and time of modification of what is there."""
    fields = (("mode", f"0{looks.mode:o}"), ("uid", looks.uid), ("gid", looks.gid))
    for field, value in (*fields, ("mtime", f"@{looks.mtime}")):
        yield b"sif %b %b %b" % (quoted(looks.path), field.encode(), str(value).encode())


def make_folder(looks: Looks) -> Iterator[bytes]:
    """A new folder; its parent is there."""
    yield b"mkdir " + quoted(looks.path)
    yield from set_looks(looks)


def write_file(looks: Looks, source: str, links: int) -> Iterator[bytes]:
    """A new file with the content that debugfs finds at ``source``, and how many names it has."""
    folder, name = split(looks.path)
    yield b"cd " + quoted(folder)
    yield b"write %b %b" % (quoted(source), quoted(name))
    yield from set_looks(looks)
    if links > 1:
        yield b"sif %b links_count %d" % (quoted(looks.path), links)


def set_capability(path: str, source: str) -> bytes:
    """The capabilities of a program, from a file that holds the attribute's bytes."""
    return b"ea_set -f %b %b %b" % (quoted(source), quoted(path), CAPABILITY.encode())


def add_name(path: str, first: str) -> bytes:
    """One more name of a file; its count of links is set with the file."""
    return b"ln %b %b" % (quoted(first), quoted(path))


def make_link(looks: Looks, target: str) -> Iterator[bytes]:
    """A new symbolic link."""
    folder, name = split(looks.path)
    yield b"cd " + quoted(folder)
    yield b"symlink %b %b" % (quoted(name), quoted(target))
    yield from set_looks(looks)


def make_fifo(looks: Looks) -> Iterator[bytes]:
    """A new named pipe."""
    folder, name = split(looks.path)
    yield b"cd " + quoted(folder)
    yield b"mknod %b p" % quoted(name)
    yield from set_looks(looks)

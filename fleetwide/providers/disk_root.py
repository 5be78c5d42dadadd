"""Write a root file system tree straight into its partition: ext4, no mount, fixed bytes.

The tree is not changed: /etc/fstab and grub.cfg are written into the finished file system, and
empty folders are seen in place of /dev, /proc, /run, /sys and /tmp.
"""

import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.disks import BLOCK, EMPTIED, DiskIds, Partition, Usage
from fleetwide.baseos.ext4 import AddedFile, Touches, debugfs_script, mke2fs_command
from fleetwide.errors import PlatformError
from fleetwide.providers.disk_tools import DISK, Workbench, tool_failure
from fleetwide.providers.layers import walk
from fleetwide.providers.progress import Progress, Throttled, span

_FULL = ("Could not allocate block", "Could not allocate inode", "No free space")
_COUNT = re.compile(r"(Inode count|Free inodes):\s+([0-9]+)")


@dataclass(frozen=True)
class TreeScan:
    """What one walk over a tree tells."""

    usage: Usage
    late: tuple[str, ...]
    """Relative paths whose modification time says nothing but when they were made here."""


def scan_tree(tree: Path, epoch: int, progress: Progress) -> TreeScan:
    """Measure what of ``tree`` goes into an image."""
    told = Throttled(progress)
    late: list[str] = []
    blocks = inodes = name_bytes = 0
    seen: set[tuple[int, int]] = set()
    for path, entry in walk(tree):
        told("measuring the files", None)
        folder, _, rest = path.partition("/")
        if rest and folder in EMPTIED:
            continue
        found = entry.stat(follow_symlinks=False)
        name_bytes += len(entry.name) + 12
        if found.st_mtime >= epoch + 1 or path in EMPTIED:
            late.append(path)
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
        inodes += 1
        blocks += _blocks(found)
    return TreeScan(Usage(blocks + name_bytes // BLOCK, inodes), tuple(sorted(late)))


def _blocks(found: os.stat_result) -> int:
    if stat.S_ISDIR(found.st_mode):
        return 1
    if stat.S_ISREG(found.st_mode):
        # Holes stay holes.
        return -(-min(found.st_size, found.st_blocks * 512) // BLOCK)
    return 0


@dataclass(frozen=True)
class RootRequest:
    """A tree, its place on the disk, and the files that the image gets on top."""

    tree: Path
    scan: TreeScan
    partition: Partition
    ids: DiskIds
    files: Mapping[str, str]
    """Absolute path to content."""
    folders: tuple[str, ...]
    """Absolute paths of folders that the image must have, parents first."""


class RootTooSmall(Exception):
    """The tree does not fit into its partition."""


def write_root(bench: Workbench, request: RootRequest, progress: Progress) -> None:
    """Fill the partition, then make every byte of it depend on the tree alone, and check it.

    Raises ``RootTooSmall``, ``BuildFailed`` for a file name that cannot be written, and
    ``PlatformError``.
    """
    inodes = _fill(bench, request, span(progress, 0.0, 0.5))
    _finish(bench, request, inodes, span(progress, 0.5, 0.9))
    check = f"e2fsck -fn {_device(request)}"
    bench.run("checking the root file system", check, span(progress, 0.9, 1.0))


def _device(request: RootRequest) -> str:
    """The partition in the words of e2fsprogs, quoted for the shell."""
    return f"'{DISK}?offset={request.partition.start}'"


def _fill(bench: Workbench, request: RootRequest, progress: Progress) -> int:
    """Make the file system; how many inodes it uses."""
    binds = {"tree": request.tree, **_masks(bench.folder / "empty", request.tree)}
    command = mke2fs_command(DISK, "/tree", request.partition, request.scan.usage, request.ids)
    script = f"{command}\ndebugfs -R 'show_super_stats -h' {_device(request)}"
    finished = bench.attempt("writing the root file system", script, progress, binds)
    if any(phrase in line for phrase in _FULL for line in finished.lines):
        raise RootTooSmall
    if finished.returncode != 0:
        raise tool_failure(script, finished, bench.folder)
    counts = {found[1]: int(found[2]) for found in map(_COUNT.match, finished.lines) if found}
    return counts["Inode count"] - counts["Free inodes"]


def _masks(empty: Path, tree: Path) -> dict[str, Path]:
    """Empty folders with the looks of those that they hide."""
    masks = {}
    for name in EMPTIED:
        original = tree / name
        if original.is_dir() and not original.is_symlink():
            mask = empty / name
            mask.mkdir(parents=True)
            found = original.stat()
            os.chown(mask, found.st_uid, found.st_gid)
            shutil.copystat(original, mask)
            masks[f"tree/{name}"] = mask
    return masks


def _finish(bench: Workbench, request: RootRequest, inodes: int, progress: Progress) -> None:
    touches = Touches(
        time=bench.time,
        inodes=inodes,
        late=request.scan.late,
        epoch=bench.epoch,
        folders=tuple(path for path in request.folders if not _within(request.tree, path).exists()),
        files=tuple(_added(request.tree, path) for path in request.files),
    )
    for file in touches.files:
        (bench.folder / Path(file.source).name).write_text(request.files[file.path])
    (bench.folder / "debugfs").write_bytes(debugfs_script(touches))
    # It ends with 0 whatever happens, and repeats each command; only complaints are of interest.
    script = f"debugfs -w -f /work/debugfs {_device(request)} >/dev/null"
    told = bench.run("setting the times of the root file system", script, progress)
    complaints = [line for line in told if not line.startswith("debugfs ")]
    if complaints:
        raise PlatformError("debugfs could not finish the root file system:\n" + complaints[0])


def _added(tree: Path, path: str) -> AddedFile:
    name = path.strip("/").replace("/", "-")
    return AddedFile(path, f"/work/{name}", os.path.lexists(_within(tree, path)))


def _within(tree: Path, path: str) -> Path:
    return tree / path.lstrip("/")

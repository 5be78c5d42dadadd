"""Write a payload into the root file system of a disk that nobody has mounted: fixed bytes.

The release's own debugfs does it, at the partition's place in the raw file. What is there already
is known from the unpacked tree of the same disk.
"""

import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.disks import BLOCK, Partition, size_text
from fleetwide.baseos.ext4_patch import script
from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import MIB
from fleetwide.providers.disk_changes import DiskChanges, plan_changes
from fleetwide.providers.disk_tools import DISK, Workbench
from fleetwide.providers.layers import LayerEntry
from fleetwide.providers.progress import Progress, Throttled, span

_FREE = re.compile(r"Free (blocks|inodes):\s+([0-9]+)")
_FULL = ("Could not allocate block", "Could not allocate inode", "No free space")
# What a machine keeps to breathe, and a disk grows by: as disks are first made.
_SPARE = 0.05
_STEP = 256 * MIB
_BYTES_PER_INODE = 16384


@dataclass(frozen=True)
class PatchRequest:
    """A copy of a disk to change, and what is put on it."""

    partition: Partition
    """Where the root file system lies."""
    tree: Path
    """The unpacked root file system of the same disk; it is only read."""
    entries: Sequence[LayerEntry]
    subject: str
    """Whose disk it is, for messages."""


def patch_disk(bench: Workbench, request: PatchRequest, progress: Progress) -> None:
    """Write the entries into ``bench.disk``, then check the file system.

    Raises ``BuildFailed`` for a disk that is too small (with the size that is needed) and for a
    name that cannot be written, ``ArtifactRejected`` for a device node, ``PlatformError`` when a
    tool fails, and whatever ``progress`` raises. After an error the disk is of no use.
    """
    changes = plan_changes(request.tree, request.entries)
    _check_room(bench, request, changes, span(progress, 0.0, 0.05))
    _lay_out(bench.folder / "files", changes, span(progress, 0.05, 0.2))
    (bench.folder / "patch").write_bytes(script(iter(changes.commands)))
    # It ends with 0 whatever happens, and repeats each command; only complaints are of interest.
    command = f"debugfs -w -f /work/patch {_device(request)} >/dev/null"
    told = bench.run("writing the artifacts", command, span(progress, 0.2, 0.8))
    complaints = [line for line in told if not line.startswith("debugfs ")]
    if any(phrase in line for phrase in _FULL for line in complaints):
        raise _too_small(bench, request, changes.blocks * BLOCK)
    if complaints:
        raise PlatformError("debugfs could not write the artifacts:\n" + "\n".join(complaints[:5]))
    check = f"e2fsck -fn {_device(request)}"
    bench.run("checking the root file system", check, span(progress, 0.8, 1.0))
    shutil.rmtree(bench.folder / "files")


def _device(request: PatchRequest) -> str:
    """The partition in the words of e2fsprogs, quoted for the shell."""
    return f"'{DISK}?offset={request.partition.start}'"


def _check_room(
    bench: Workbench, request: PatchRequest, changes: DiskChanges, progress: Progress
) -> None:
    command = f"debugfs -R 'show_super_stats -h' {_device(request)}"
    lines = bench.run("measuring the disk", command, progress)
    free = {found[1]: int(found[2]) for found in map(_FREE.match, lines) if found}
    blocks = int(changes.blocks * (1 + _SPARE)) - free["blocks"]
    inodes = changes.inodes - free["inodes"]
    if blocks > 0 or inodes > 0:
        raise _too_small(bench, request, max(blocks * BLOCK, inodes * _BYTES_PER_INODE))


def _too_small(bench: Workbench, request: PatchRequest, missing: int) -> BuildFailed:
    """``missing`` bytes are what the artifacts need beyond the room that there is."""
    size = bench.disk.stat().st_size
    # File tables grow with the disk.
    needed = -(-int(size + missing * (1 + _SPARE)) // _STEP) * _STEP
    return BuildFailed(
        f"the disk of {request.subject} is too small for the artifacts: "
        f"it has {size_text(size)}, {size_text(needed)} are needed",
        hint=f"in the spec of {request.subject}: vm: {{size: {size_text(needed)}}}",
    )


def _lay_out(folder: Path, changes: DiskChanges, progress: Progress) -> None:
    """Have the content of all files in one folder, under their numbers."""
    folder.mkdir()
    told = Throttled(progress)
    for number, source in enumerate(changes.sources):
        told("collecting the artifacts", number / len(changes.sources))
        _link_or_copy(source, folder / str(number))
    for number, value in changes.capabilities.items():
        (folder / f"{number}.capability").write_bytes(value)


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name costs nothing; a copy is for what lies on another file system."""
    if stat.S_ISREG(source.lstat().st_mode):
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            shutil.copyfile(source, target, follow_symlinks=False)

"""Unpacked root file systems of releases' disks on a builder, each unpacked once."""

import shutil
from pathlib import Path

from fleetwide.baseos.disks import disk_layout
from fleetwide.errors import PlatformError
from fleetwide.models.os_releases import DiskImage
from fleetwide.providers.file_locks import locked
from fleetwide.providers.progress import Progress
from fleetwide.providers.sandbox import run_isolated
from fleetwide.registry.digests import hex_of

# The mount lives in namespaces of its own, and goes with them whatever happens. noload: the journal
# of a disk that was never mounted is empty, and the disk must not change.
_UNPACK = """
set -eu
mount -t ext4 -o ro,loop,noload,offset="$2",sizelimit="$3" "$1" "$4"
exec cp --archive --one-file-system "$4/." "$5"
"""


class DiskTrees:
    """A folder of unpacked disks by digest; safe for several processes at once.

    It may be the folder of ``BaseCache``: one folder has room for both, as digests do not collide.
    The trees are read by many: never write into one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def tree(self, disk: DiskImage, raw: Path, progress: Progress) -> Path:
        """The root file system that lies on ``raw``, the disk's raw bytes.

        Raises ``PlatformError`` when this builder cannot mount it.
        """
        ready = self._root / hex_of(disk.digest)
        if ready.is_dir():
            return ready
        waiting = "waiting for the disk that another bake unpacks"
        with locked(ready.with_suffix(".lock"), progress, waiting):
            if not ready.is_dir():
                self._unpack(disk, raw, ready, progress)
        return ready

    def _unpack(self, disk: DiskImage, raw: Path, ready: Path, progress: Progress) -> None:
        partial = ready.with_name(f"{ready.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        tree, mounted = partial / "tree", partial / "mounted"
        for folder in (tree, mounted):
            folder.mkdir(parents=True)
        try:
            root = disk_layout(disk.size, disk.boot).root
            words = (raw.absolute(), root.start, root.size, mounted.absolute(), tree.absolute())
            finished = run_isolated(
                ["sh", "-c", _UNPACK, "sh", *map(str, words)],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                progress=lambda _phrase, _fraction: progress("unpacking the base's disk", None),
                read=lambda _line: None,
                network=False,
            )
            if finished.returncode != 0:
                raise PlatformError(
                    f"the base's disk could not be unpacked: {' '.join(finished.lines[-3:])}",
                    hint="on the builder: modprobe -a loop ext4; losetup --find",
                )
            tree.rename(ready)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

"""Layers of an image as folders, in the terms of overlayfs."""

import os
import stat
from pathlib import Path

from fleetwide.errors import PlatformError
from fleetwide.providers.layers import walk
from fleetwide.providers.overlay import OPAQUE, WHITEOUT
from fleetwide.providers.progress import Progress
from fleetwide.providers.sandbox import run_isolated

_OPAQUE_XATTR = "trusted.overlay.opaque"


def unpack_layer(layer: Path, tree: Path, progress: Progress) -> None:
    """Unpack ``layer``, a tar as it is or compressed, into the empty folder ``tree``.

    On a mount ``lowerdir=tree:base`` the layer then hides and keeps of the base what it says: a
    whiteout becomes a device node 0/0, an opaque folder gets its extended attribute.

    Raises:
        PlatformError: the layer cannot be unpacked here.
    """
    untar(layer, tree, progress, "the layer")
    marks = [path for path, found in walk(tree) if found.name.startswith(WHITEOUT)]
    for mark in marks:
        _translate(tree / mark)


def untar(packed: Path, tree: Path, progress: Progress, what: str) -> None:
    """Unpack a tar with its owners, modes and extended attributes; ``what`` it is, for people.

    Raises:
        PlatformError: it cannot be unpacked here.
    """
    command = ["tar", "--extract", "--numeric-owner", "--same-owner"]
    command += ["--same-permissions", "--xattrs", "--xattrs-include=*"]
    finished = run_isolated(
        [*command, f"--file={packed.absolute()}", f"--directory={tree.absolute()}"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        progress=lambda _phrase, _fraction: progress(f"unpacking {what}", None),
        read=lambda _line: None,
        network=False,
    )
    if finished.returncode != 0:
        raise PlatformError(f"{what} could not be unpacked: {' '.join(finished.lines[-3:])}")


def _translate(mark: Path) -> None:
    """Put what overlayfs understands in the place of a mark; only a file is one."""
    hidden = mark.name.removeprefix(WHITEOUT)
    if not stat.S_ISREG(mark.lstat().st_mode) or hidden in ("", ".", ".."):
        return
    mark.unlink()
    if mark.name == OPAQUE:
        os.setxattr(mark.parent, _OPAQUE_XATTR, b"y")
        return
    place = mark.with_name(hidden)
    if not os.path.lexists(place):
        os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))
    elif place.is_dir() and not place.is_symlink():
        # The layer takes the base's away and brings one of its own.
        os.setxattr(place, _OPAQUE_XATTR, b"y")

"""Run programs on an unpacked base by overlayfs, and read what they changed as a layer."""

import filecmp
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetwide.bakery.packages import is_transient
from fleetwide.providers.layers import LayerEntry, walk
from fleetwide.providers.rooted import confined
from fleetwide.providers.sandbox import Finished, LineReader, run_isolated
from fleetwide.providers.script_limits import Bounds

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_PLACES = ("dev", "proc", "run", "tmp")

# The uppermost layer, "tools", is seen but never written: nothing of it can stay in the image.
# Paths may hold what overlayfs reads as its own signs: the layers are mounted under plain names.
_SCRIPT = """
set -eu
cd "$1"; shift
lower=tools; number=0
while [ "$1" != -- ]; do
  mkdir "lower$number"; mount --bind "$1" "lower$number"
  lower="$lower:lower$number"; number=$((number + 1)); shift
done
shift
options=redirect_dir=off,metacopy=off,index=off,volatile
mount -t overlay overlay -o "lowerdir=$lower,upperdir=upper,workdir=work,$options" merged
exec "$@"
"""


class BaseOverlay:
    """Unpacked trees, the upper ones first, that can be written to: changes are left in ``upper``.

    ``scratch`` is a folder that does not exist yet. What lies in ``tools`` is seen by the programs
    as part of the trees, and is no change. One program runs at a time, and only once.
    """

    def __init__(self, trees: Sequence[Path], scratch: Path) -> None:
        self._trees = [str(tree.absolute()) for tree in trees]
        self._scratch = scratch.absolute()
        self.upper = self._scratch / "upper"
        self.tools = self._scratch / "tools"
        for name in ("tools", "upper", "work", "merged"):
            (self._scratch / name).mkdir(parents=True)
        # A base need not have the places that are mounted over.
        for name in _PLACES:
            (self.tools / name).mkdir()

    def run(
        self,
        command: Sequence[str],
        *,
        binds: Mapping[str, Path] | None = None,
        env: Mapping[str, str] | None = None,
        bounds: Bounds,
        read: LineReader,
    ) -> Finished:
        """Run ``command`` with the trees as its whole world, as ``run_rooted`` does.

        What it changes need not survive a crash of the machine: nothing waits for the disk.
        """
        words = confined(self._scratch / "merged", command, binds or {}, env or {})
        mounted = ["sh", "-c", _SCRIPT, "sh", str(self._scratch), *self._trees, "--", *words]
        return run_isolated(
            bounds.command(mounted),
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            progress=bounds.progress,
            read=read,
            network=False,
        )


def changed_entries(upper: Path, base: Path, epoch: int, started: float) -> list[LayerEntry]:
    """What ``upper`` changes on ``base``, as layer entries.

    Deletions become whiteouts; copies of files that did not change are dropped; times that lie
    behind the ``epoch`` or the installation's start (seconds since 1970) become the epoch.
    """
    cutoff = min(epoch, int(started))
    folders: dict[str, LayerEntry] = {}
    kept: list[LayerEntry] = []
    for path, found in walk(upper):
        source = Path(found.path)
        entry = _entry(path, source, epoch, cutoff)
        if entry.is_folder:
            folders[path] = entry
        if is_transient(path, folder=entry.is_folder):
            continue
        if entry.is_folder and _is_opaque(source) and (base / path).is_dir():
            kept += [entry, _deletion(f"{path}/{OPAQUE}", epoch)]
        elif _is_whiteout(source):
            kept += _whiteouts(path, base, epoch)
        elif not _same(source, base / path):
            kept.append(entry)
    return _with_parents(kept, folders)


def _entry(path: str, source: Path, epoch: int, cutoff: int) -> LayerEntry:
    found = source.lstat()
    mtime = epoch if found.st_mtime >= cutoff else int(found.st_mtime)
    return LayerEntry(path, source, found.st_mode, found.st_uid, found.st_gid, mtime)


def _deletion(path: str, epoch: int) -> LayerEntry:
    return LayerEntry(path, None, mode=stat.S_IFREG, mtime=epoch)


def _is_whiteout(source: Path) -> bool:
    found = source.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(source: Path) -> bool:
    try:
        return os.getxattr(source, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _whiteouts(path: str, base: Path, epoch: int) -> list[LayerEntry]:
    """Overlayfs also marks the end of files that the base never had."""
    if not os.path.lexists(base / path):
        return []
    parent, _, name = path.rpartition("/")
    return [_deletion(f"{parent}/{WHITEOUT}{name}" if parent else f"{WHITEOUT}{name}", epoch)]


def _same(source: Path, below: Path) -> bool:
    """Whether the base has this very thing already."""
    if not os.path.lexists(below):
        return False
    new, old = source.lstat(), below.lstat()
    if (new.st_mode, new.st_uid, new.st_gid) != (old.st_mode, old.st_uid, old.st_gid):
        return False
    if stat.S_ISDIR(new.st_mode):
        return True
    if stat.S_ISLNK(new.st_mode):
        return source.readlink() == below.readlink()
    return stat.S_ISREG(new.st_mode) and filecmp.cmp(source, below, shallow=False)


def _with_parents(kept: list[LayerEntry], folders: dict[str, LayerEntry]) -> list[LayerEntry]:
    """Every folder on the way is listed: a layer that leaves one out resets its mode."""
    entries = {entry.path: entry for entry in kept}
    for entry in kept:
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in entries:
            entries[parent] = folders[parent]
            parent = parent.rpartition("/")[0]
    return list(entries.values())

"""Install debs onto a base by overlayfs, and read what changed as a layer."""

import filecmp
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from fleetwide.bakery.packages import dpkg_complaints, is_transient
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.layers import LayerEntry, walk
from fleetwide.providers.progress import Progress
from fleetwide.providers.sandbox import run_isolated

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
POLICY = "#!/bin/sh\n# Services start with containers, never while an image is built.\nexit 101\n"
# What Docker grants, without what leads out of a chroot or makes device nodes.
CAPABILITIES = "chown dac_override fowner fsetid kill setgid setuid setfcap net_bind_service"

# The third layer, "tools", holds the policy and the debs: they are seen but never written, so
# nothing of them can stay in the image. Through a writable /proc root could reach the builder.
_SCRIPT = """
set -eu
cd "$1"; base=$2; bounding=$3; shift 3
mount --bind "$base" base
mount -t overlay overlay \
  -o lowerdir=tools:base,upperdir=upper,workdir=work,redirect_dir=off,metacopy=off,index=off merged
mount -t proc -o ro,nosuid,nodev,noexec proc merged/proc
mount -t tmpfs -o mode=0755 tmpfs merged/dev
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
  mknod -m 666 "merged/dev/${node% *}" c 1 "${node#* }"
done
ln -s /proc/self/fd merged/dev/fd
mount -t tmpfs -o mode=0755 tmpfs merged/run
mount -t tmpfs -o mode=1777 tmpfs merged/tmp
exec chroot merged /usr/bin/setpriv --no-new-privs --inh-caps=-all --bounding-set="$bounding" \
  /usr/bin/dpkg --install --force-confdef --force-confold "$@"
"""


def install_debs(debs: Sequence[Path], base: Path, scratch: Path, progress: Progress) -> None:
    """Install ``debs`` on the unpacked ``base``; the change is left in ``scratch/upper``.

    Maintainer scripts run in namespaces of their own, without network and without the capabilities
    that reach the builder. Raises ``ArtifactRejected`` with dpkg's words.
    """
    for name in ("base", "tools", "upper", "work", "merged"):
        (scratch / name).mkdir(parents=True)
    names = _lay_out_tools(debs, base, scratch / "tools")
    bounding = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES.split())])
    finished = run_isolated(
        [
            "sh",
            "-c",
            _SCRIPT,
            "sh",
            str(scratch.absolute()),
            str(base.absolute()),
            bounding,
            *names,
        ],
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
            "PYTHONHASHSEED": "0",
        },
        progress=progress,
        read=_read,
        network=False,
    )
    if finished.returncode != 0:
        raise ArtifactRejected(
            f"dpkg could not install the package:\n{dpkg_complaints(finished.lines)}",
            hint="add the missing packages to `artifacts`, or to `packages` of the OS image",
        )


def _lay_out_tools(debs: Sequence[Path], base: Path, tools: Path) -> list[str]:
    sbin = "usr/bin" if (base / "usr/sbin").is_symlink() else "usr/sbin"
    policy = tools / sbin / "policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text(POLICY)
    policy.chmod(0o755)
    folder = tools / ".fleetwide"
    # A base need not have the places that are mounted over.
    for place in (folder, *(tools / name for name in ("dev", "proc", "run", "tmp"))):
        place.mkdir()
    for number, deb in enumerate(debs):
        shutil.copyfile(deb, folder / f"{number}.deb")
    return [f"/.fleetwide/{number}.deb" for number in range(len(debs))]


def _read(line: str) -> tuple[str, float | None] | None:
    word = line.split(" ", 1)[0]
    return (line[:60], None) if word in {"Unpacking", "Setting", "Processing"} else None


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

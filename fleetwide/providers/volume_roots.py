"""Write a payload into the root file system of a block device: mounted for that moment only."""

from collections.abc import Sequence
from pathlib import Path

from fleetwide.baseos.disks import Partition
from fleetwide.errors import PlatformError
from fleetwide.providers.layers import LayerEntry, write_layer
from fleetwide.providers.overlay import OPAQUE, WHITEOUT
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.rooted import ENVIRONMENT, confined
from fleetwide.providers.sandbox import run_isolated

PAYLOAD = "run/payload"
"""Where the system on the device sees the payload; /run is forgotten afterwards."""

# The mount lives in namespaces of its own, and goes with them whatever happens. The inner program
# makes the device's root its own, so it gets a copy of the mounts; when it is over, unmounting
# writes everything out.
_MOUNTED = """
set -eu
device=$1 offset=$2 size=$3 place=$4; shift 4
mount -t ext4 -o loop,offset="$offset",sizelimit="$size" "$device" "$place"
unshare --mount -- "$@"
umount "$place"
sync "$device"
"""
# The device's own programs see nothing but the device: a link in it cannot lead to this machine.
_APPLY = f"""
cd /
xargs -0 -r rm -rf -- < {PAYLOAD}/removed
xargs -0 -r -I @@ find @@ -mindepth 1 -delete < {PAYLOAD}/emptied
exec tar --extract --file={PAYLOAD}/layer.tar --numeric-owner --same-owner --same-permissions \
  --keep-directory-symlink --xattrs --xattrs-include=security.capability
"""


def apply_entries(
    device: Path,
    partition: Partition,
    entries: Sequence[LayerEntry],
    workdir: Path,
    progress: Progress,
) -> None:
    """Put ``entries`` onto the root file system that lies at ``partition`` of ``device``.

    ``device`` may also be a raw file. When this returns, or raises, it is unmounted and written
    out. Raises ``PlatformError`` when it cannot be mounted or written, and whatever ``progress``
    raises.
    """
    payload, place = workdir / "payload", workdir / "mounted"
    for folder in (payload, place):
        folder.mkdir(parents=True)
    _lay_out(entries, payload, span(progress, 0.0, 0.4))
    command = ["sh", "-euc", _APPLY]
    where = (device, partition.start, partition.size, place.absolute())
    finished = run_isolated(
        [
            *("sh", "-c", _MOUNTED, "sh", *map(str, where)),
            *confined(place, command, {PAYLOAD: payload}, {}),
        ],
        env=ENVIRONMENT,
        progress=lambda _phrase, _fraction: progress("writing the artifacts", None),
        read=lambda _line: None,
        network=False,
    )
    if finished.returncode != 0:
        raise PlatformError(
            f"the artifacts could not be written to {device}: {' '.join(finished.lines[-3:])}",
            hint=f"on the builder: lsblk {device}; modprobe -a loop ext4",
        )


def _lay_out(entries: Sequence[LayerEntry], folder: Path, progress: Progress) -> None:
    """The payload as an archive, and the paths that go away as two lists."""
    removed, emptied, kept = [], [], []
    for entry in entries:
        parent, _, name = entry.path.rpartition("/")
        if name == OPAQUE:
            emptied.append(parent)
        elif name.startswith(WHITEOUT):
            removed.append(f"{parent}/{name.removeprefix(WHITEOUT)}".lstrip("/"))
        else:
            kept.append(entry)
            # tar puts no file in the place of a folder.
            removed += [] if entry.is_folder else [entry.path]
    for name, paths in (("removed", removed), ("emptied", emptied)):
        listed = b"".join(f"./{path}".encode(errors="surrogateescape") + b"\0" for path in paths)
        (folder / name).write_bytes(listed)
    write_layer(kept, folder / "layer.tar", progress)

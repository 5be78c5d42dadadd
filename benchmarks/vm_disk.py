"""What a bootable disk costs beyond its root file system.

The disk is rebuilt from a finished tree of a Debian VM: partitions, ext4, boot loader, check and
digest. The baseline is mmdebstrap making that very set of packages as a tar, in the same run on the
same machine. Every disk must have the digest of the first one, or there is no figure.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Figure, alternate, report, say
from fleetwide.models.baseos import MIB, Architecture, BootMode
from fleetwide.providers.disks import DiskRequest, write_disk
from fleetwide.providers.progress import no_progress

SUITE = "bookworm"
EPOCH = 1_760_000_000
PAIRS = 3
GOAL_SECONDS = 10
VM = "--include=linux-image-cloud-amd64,systemd-sysv,udev,initramfs-tools"
TOOLS = (
    "--include=base-files,dash,coreutils,util-linux,e2fsprogs,fdisk,dosfstools,mtools,"
    "grub-common,grub-pc-bin,grub-efi-amd64-bin"
)
FIGURE = Figure(
    name="vm_disk",
    unit="ratio of wall times",
    goal=0.5,
    better="lower",
    baseline=f"mmdebstrap of the same {SUITE} VM as a tar; ours: a 2 GiB UEFI disk from its tree, "
    f"to take at most {GOAL_SECONDS} s, identical in every byte each time",
)


def mmdebstrap(*words: str) -> float:
    started = time.perf_counter()
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run(["mmdebstrap", "--quiet", *words], env=env, check=True)
    return time.perf_counter() - started


class DiskWriter:
    """Our side: writes the disk again and again, and compares the digests."""

    def __init__(self, folder: Path) -> None:
        self.request = DiskRequest(
            tree=folder / "tree",
            tools=folder / "tools",
            target=folder / "disk.raw",
            size=2048 * MIB,
            boot=BootMode.UEFI,
            architecture=Architecture.AMD64,
            epoch=EPOCH,
            seed="sha256:benchmark",
        )
        self.digests: set[str] = set()

    def run(self) -> float:
        started = time.perf_counter()
        self.digests.add(write_disk(self.request, no_progress).digest)
        return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        say("making the tree and the tools")
        mmdebstrap("--variant=minbase", VM, SUITE, str(folder / "tree"))
        mmdebstrap("--variant=extract", TOOLS, SUITE, str(folder / "tools"))
        ours = DiskWriter(folder)
        ours.run()
        say(f"{PAIRS} pairs")
        tar = str(folder / "tree.tar")
        measured = alternate(
            ours.run, lambda: mmdebstrap("--variant=minbase", VM, SUITE, tar), PAIRS
        )
    if len(ours.digests) != 1:
        sys.exit(f"the disks differ: {sorted(ours.digests)}")
    say(f"{PAIRS + 1} disks, one digest: {ours.digests.pop()}")
    report(FIGURE, measured)


if __name__ == "__main__":
    main()

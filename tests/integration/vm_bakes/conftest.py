"""A small disk with one of everything on it, its unpacked tree, and a payload of every kind."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetwide.baseos.disks import Partition, disk_layout
from fleetwide.models.bakes import ResolvedBake
from fleetwide.models.baseos import MIB, Architecture, BootMode
from fleetwide.models.os_releases import AmiImage, DiskImage
from fleetwide.providers.baked_disks import DiskBake
from fleetwide.providers.disk_trees import DiskTrees
from fleetwide.providers.disks import DiskRequest, write_disk
from fleetwide.providers.layers import LayerEntry, tree_entries
from fleetwide.providers.payloads import Payload
from fleetwide.providers.progress import no_progress
from tests.aws import REGION
from tests.unit.bakes import BASE, resolved

EPOCH = BASE.created_epoch
SIZE = 256 * MIB
KERNEL = "6.1.0-37-cloud-amd64"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw, permitted and effective, as the kernel stores it."""
# Enough to boot nothing, to write disks, and to run a payload's tar in.
PACKAGES = (
    "base-files,dash,coreutils,findutils,tar,util-linux,e2fsprogs,fdisk,"
    "grub-common,grub-pc-bin,libgcc-s1"
)


@dataclass(frozen=True)
class Base:
    """A release's disk on this builder."""

    raw: Path
    image: DiskImage
    tree: Path
    tools: Path

    @property
    def root(self) -> Partition:
        return disk_layout(self.image.size, self.image.boot).root


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs for disks; the system on the disk of the tests is made of them too."""
    tree: Path = tmp_path_factory.mktemp("tools") / "tree"
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={PACKAGES}"]
    subprocess.run([*command, "bookworm", str(tree)], check=True)
    return tree


def _furnish(tree: Path) -> None:
    """Things that a payload meets: links to folders, files of several names, full folders."""
    for name in ("boot", "etc/systemd/system", "usr/local", "opt/old/deep", "opt/kept", "srv"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / f"boot/vmlinuz-{KERNEL}").write_text("no kernel\n")
    (tree / f"boot/initrd.img-{KERNEL}").write_text("no initrd\n")
    (tree / "usr/lib/systemd/system").mkdir(parents=True, exist_ok=True)
    (tree / "usr/lib/systemd/system/known.service").write_text("[Unit]\n")
    for name in ("opt/old/a", "opt/old/deep/b", 'opt/old/say "hi"', "opt/kept/c", "srv/one"):
        (tree / name).write_text(name)
    (tree / "srv/two").hardlink_to(tree / "srv/one")
    (tree / "srv/a folder").mkdir()
    (tree / "srv/a folder/x").write_text("x")
    (tree / "srv/a link").symlink_to("one")
    (tree / "usr/linked").symlink_to("local")
    (tree / "srv/absolute").symlink_to("/opt/kept")
    os.chown(tree / "opt/kept", 0, 50)
    (tree / "opt/kept").chmod(0o2775)
    for folder, folders, files in os.walk(tree):
        for name in [*folders, *files]:
            os.utime(Path(folder, name), (EPOCH - 500, EPOCH - 500), follow_symlinks=False)


@pytest.fixture(scope="session")
def base(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("base")
    tree = folder / "tree"
    subprocess.run(["cp", "--archive", str(tools), str(tree)], check=True)
    _furnish(tree)
    raw = folder / "base.raw"
    written = write_disk(
        DiskRequest(
            tree=tree,
            tools=tools,
            target=raw,
            size=SIZE,
            boot=BootMode.BIOS,
            architecture=Architecture.AMD64,
            epoch=EPOCH,
            seed="vm-bakes",
        ),
        no_progress,
    )
    image = DiskImage(
        digest=written.digest,
        size=written.size,
        used=written.used,
        boot=BootMode.BIOS,
        architecture=Architecture.AMD64,
        key="baseos/disks/base.raw.gz",
        root_uuid=written.root_uuid,
    )
    unpacked = DiskTrees(folder / "bases").tree(image, raw, no_progress)
    return Base(raw, image, unpacked, tools)


def staged(folder: Path) -> list[LayerEntry]:
    """A payload with one of everything."""
    app = folder / "opt/hello"
    (app / "bin").mkdir(parents=True)
    program = app / "bin/ping"
    program.write_bytes(b"program" * 50_000)
    program.chmod(0o4755)
    os.setxattr(program, "security.capability", CAPABILITY)
    (app / "bin/pong").hardlink_to(program)
    (app / "to etc").symlink_to("/etc/" + "long/" * 30)
    os.mkfifo(app / "fifo", 0o600)
    for name in ('say "hi"', "back\\slash", "<12>", "naïve", "-rf", "two  spaces"):
        (app / name).write_text(name)
    (app / "empty").mkdir()
    (app / "none").touch()
    os.chown(app / "none", 70_000, 1000)
    with (app / "holes").open("wb") as holes:
        holes.truncate(8 * MIB)
        holes.seek(4 * MIB)
        holes.write(b"end of the hole")
    for number in range(300):
        (app / f"empty/{number:03}").write_text(str(number))
    for name in ("usr/linked", "srv/absolute"):
        (folder / name).mkdir(parents=True)
        (folder / name / "new").write_text("through a link")
    (folder / "srv/a folder").write_text("a file now")
    (folder / "srv/a link").write_text("a file now")
    (folder / "srv/one").mkdir()
    return tree_entries(folder, EPOCH)


def deletion(path: str) -> LayerEntry:
    return LayerEntry(path, None, mtime=EPOCH)


def bake_on(base: Base, **changes: object) -> ResolvedBake:
    given = {"targets": ["vm"], "ami": {"regions": [REGION]}, **changes}
    amis = [AmiImage(region=REGION, image_id="ami-base", snapshot_id="", name="baseos")]
    return resolved(BASE.model_copy(update={"disk": base.image, "amis": amis}), **given)


def disk_bake(base: Base, bake: ResolvedBake, folder: Path, payload: Payload) -> DiskBake:
    workdir = folder / "work"
    workdir.mkdir(parents=True)
    return DiskBake(
        bake=bake,
        payload=payload,
        disk=base.raw,
        tree=base.tree,
        tools=base.tools,
        workdir=workdir,
        env={"TZ": "UTC"},
    )


def unpacked(base: Base, raw: Path, folder: Path) -> Path:
    """The root file system of another disk of the base's shape, as the kernel sees it."""
    image = base.image.model_copy(update={"digest": "sha256:" + "0" * 64})
    return DiskTrees(folder).tree(image, raw, no_progress)

"""Tools of two suites, and a small tree that holds one of everything a file system can hold."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetwide.models.baseos import MIB, Architecture, BootMode
from fleetwide.providers.disks import DiskRequest

EPOCH = 1_760_000_000
KERNEL = "6.1.0-37-cloud-amd64"
SIZE = 512 * MIB
MANY = 9000
"""More files than one group of the file system has inodes."""
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw, permitted and effective, as the kernel stores it."""
PACKAGES = (
    "base-files,dash,coreutils,util-linux,e2fsprogs,fdisk,dosfstools,mtools,"
    "grub-common,grub-pc-bin,grub-efi-amd64-bin"
)

MakeTree = Callable[[Path], Path]


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's own disk tools: e2fsprogs 1.47.0 and GRUB 2.06, or 1.47.2 and 2.12."""
    tree: Path = tmp_path_factory.mktemp("tools") / request.param
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={PACKAGES}"]
    subprocess.run([*command, request.param, str(tree)], check=True)
    return tree


def make_tree(tree: Path) -> Path:
    """A tree with fixed content and modification times; change times tell when it was made."""
    for name in ("boot", "dev", "etc", "proc", "run/lock", "sys", "tmp", "usr/many", "home/joe"):
        (tree / name).mkdir(parents=True)
    tree.chmod(0o700)
    (tree / "tmp").chmod(0o1777)
    (tree / "tmp/left over").write_text("x")
    (tree / "run/lock/pid").write_text("1")
    os.mknod(tree / "dev/console", 0o020600, os.makedev(5, 1))
    (tree / f"boot/vmlinuz-{KERNEL}").write_text("no kernel\n" * 1000)
    (tree / f"boot/initrd.img-{KERNEL}").write_text("no initrd\n")
    (tree / "etc/fstab").write_text("# not configured\n")
    _fill(tree)
    for number in range(MANY):
        (tree / f"usr/many/{number:05}").touch()
    _date(tree)
    return tree


def _fill(tree: Path) -> None:
    program = tree / "usr/ping"
    program.write_bytes(b"program" * 5000)
    program.chmod(0o4755)
    os.setxattr(program, "security.capability", CAPABILITY)
    (tree / "usr/pong").hardlink_to(program)
    (tree / "usr/link").symlink_to("ping")
    (tree / "usr/long link").symlink_to("../" * 40 + "usr/ping")
    os.mknod(tree / "usr/null", 0o020666, os.makedev(1, 3))
    os.mkfifo(tree / "usr/fifo", 0o600)
    for name in ('say "hi"', "back\\slash", "naïve", b"r\xe9sum".decode(errors="surrogateescape")):
        (tree / "home/joe" / name).write_text("some words")
    os.chown(tree / "home/joe", 1000, 1000)
    with (tree / "usr/holes").open("wb") as holes:
        holes.truncate(40 * MIB)
        holes.seek(20 * MIB)
        holes.write(b"end of the hole")


def _date(tree: Path) -> None:
    """One time before the epoch and one behind it, in turns."""
    for folder, folders, files in os.walk(tree, topdown=False):
        for number, name in enumerate(sorted([*folders, *files])):
            time = EPOCH - 1000 if number % 3 else EPOCH + 1000
            os.utime(Path(folder) / name, (time, time), follow_symlinks=False)


def disk_request(tree: Path, tools: Path, target: Path, boot: BootMode) -> DiskRequest:
    return DiskRequest(
        tree=tree,
        tools=tools,
        target=target,
        size=SIZE,
        boot=boot,
        architecture=Architecture.AMD64,
        epoch=EPOCH,
        seed="sha256:" + "5" * 64,
        cmdline="panic=5",
    )


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree") / "root")

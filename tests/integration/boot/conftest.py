"""One small real VM tree, and the tools that write it to a disk."""

import subprocess
from pathlib import Path

import pytest

from fleetwide.baseos.smoke import smoke_script, smoke_unit
from fleetwide.models.baseos import Architecture, BootMode
from fleetwide.providers.disks import DiskRequest, write_disk
from fleetwide.providers.progress import no_progress

SUITE = "bookworm"
VM_PACKAGES = "linux-image-cloud-amd64,systemd-sysv,udev,initramfs-tools"
TOOLS = (
    "base-files,coreutils,dash,dosfstools,e2fsprogs,fdisk,grub-common,grub-pc-bin,mtools,util-linux"
)
NETWORK = "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n"


def bootstrap(variant: str, packages: str, folder: Path) -> Path:
    subprocess.run(
        [
            "mmdebstrap",
            "--mode=root",
            f"--variant={variant}",
            f"--include={packages}",
            SUITE,
            folder,
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def vm_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system that boots, with the unit of the boot test; nobody changes it."""
    tree = bootstrap("minbase", VM_PACKAGES, tmp_path_factory.mktemp("vm") / "tree")
    system = tree / "etc/systemd/system"
    unit, script = smoke_unit(), smoke_script()
    (system / unit.name).write_text(unit.content or "")
    wants = system / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
    (tree / "usr/lib/fleetwide").mkdir()
    (tree / script.path[1:]).write_text(script.content or "")
    (tree / "etc/systemd/network/99-dhcp.network").write_text(NETWORK)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/resolv.conf").unlink()
    return tree


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bootstrap("extract", TOOLS, tmp_path_factory.mktemp("tools") / "tree")


def disk_of(tree: Path, tools: Path, target: Path, cmdline: str = "") -> str:
    """Write a BIOS disk of 1 GiB; its digest."""
    request = DiskRequest(
        tree=tree,
        tools=tools,
        target=target,
        size=1024**3,
        boot=BootMode.BIOS,
        architecture=Architecture.AMD64,
        epoch=1_795_000_000,
        seed="boot-test",
        cmdline=cmdline,
    )
    return write_disk(request, no_progress).digest

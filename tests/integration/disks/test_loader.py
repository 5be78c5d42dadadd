"""Firmware, boot loader and file system understand each other: GRUB reads its menu from the root.

The kernel in the tree is none, so GRUB says so: it has then found the disk, its own core, the root
by UUID, the menu and the file. A whole boot of a real release is tested elsewhere.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetwide.models.baseos import BootMode
from fleetwide.providers.disks import write_disk
from fleetwide.providers.progress import no_progress
from tests.integration.disks.conftest import disk_request

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

FIRMWARE = Path("/usr/share/OVMF")


def machine(disk: Path, boot: BootMode, scratch: Path) -> list[str]:
    command = [
        *("qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nographic", "-no-reboot"),
        *("-nic", "none", "-drive", f"file={disk},format=raw,if=virtio,snapshot=on"),
    ]
    if boot is BootMode.BIOS:
        return command
    variables = shutil.copyfile(FIRMWARE / "OVMF_VARS_4M.fd", scratch / "vars.fd")
    code = f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}"
    return [
        *command,
        "-machine",
        "q35",
        "-drive",
        code,
        "-drive",
        f"if=pflash,format=raw,file={variables}",
    ]


def console_until(word: str, command: list[str]) -> str:
    """What the machine says on its serial console until it has said ``word``, or ends."""
    said = b""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        try:
            while word.encode() not in said and (data := os.read(process.stdout.fileno(), 4096)):
                said += data
        finally:
            process.kill()
    return said.decode(errors="replace")


@pytest.mark.parametrize("boot", list(BootMode))
def test_the_loader_finds_root_menu_and_kernel(
    tree: Path, tools: Path, boot: BootMode, tmp_path: Path
) -> None:
    target = tmp_path / "disk.raw"
    write_disk(disk_request(tree, tools, target, boot), no_progress)
    said = console_until("load the kernel first", machine(target, boot, tmp_path))
    assert "load the kernel first" in said

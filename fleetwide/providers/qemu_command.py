"""The QEMU command of a boot test: the machine, its drives, and the marker that makes it report."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fleetwide.baseos.smoke import oem_strings
from fleetwide.errors import PlatformError
from fleetwide.models.baseos import Architecture, BootMode, CommandTest


class Accelerator(StrEnum):
    """What executes the guest's instructions."""

    TCG = "tcg"
    """Software: works everywhere, many times slower."""
    KVM = "kvm"


@dataclass(frozen=True)
class BootRequest:
    """A raw disk to boot, and how. The disk is never changed."""

    disk: Path
    boot: BootMode
    console: Path
    """Gets the whole console output, however the boot ends."""
    architecture: Architecture = Architecture.AMD64
    commands: Sequence[CommandTest] = ()
    timeout_seconds: float = 600
    memory_mb: int = 1024
    cpus: int = 2
    accelerator: Accelerator = Accelerator.TCG


@dataclass(frozen=True)
class _Machine:
    """What QEMU must have for an architecture: program, packages, firmware."""

    program: str
    package: str
    kind: str
    cpu: str
    firmware: Path
    variables: Path
    firmware_package: str


_MACHINES = {
    Architecture.AMD64: _Machine(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "q35",
        "qemu64",
        Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        "ovmf",
    ),
    Architecture.ARM64: _Machine(
        "qemu-system-aarch64",
        "qemu-system-arm",
        "virt",
        "cortex-a72",
        Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
        Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
        "qemu-efi-aarch64",
    ),
}

# A data source for cloud-init, which would otherwise look for one on the network for minutes.
_CLOUD_SEED = {
    "meta-data": "instance-id: fleetwide-boot-test\n",
    "user-data": "#cloud-config\n{}\n",
}


def qemu_command(request: BootRequest, token: str, scratch: Path) -> list[str]:
    """The whole command; ``scratch`` gets what belongs to this one boot.

    Raises:
        InvalidInput: the commands are too long to be handed to the machine.
        PlatformError: QEMU or its firmware is missing on this builder.
    """
    machine = _MACHINES[request.architecture]
    _check_installed(machine, request.boot)
    return [
        *(machine.program, "-machine", machine.kind),
        *_hardware(request, machine),
        *_drives(request, machine, scratch),
        *_marker(request, token),
    ]


def _check_installed(machine: _Machine, boot: BootMode) -> None:
    if shutil.which(machine.program) is None:
        raise PlatformError(
            f"the builder has no {machine.program} for boot tests",
            hint=f"on the builder: apt-get install {machine.package}",
        )
    if boot is BootMode.UEFI and not machine.firmware.is_file():
        raise PlatformError(
            f"the builder has no UEFI firmware for boot tests: {machine.firmware} is missing",
            hint=f"on the builder: apt-get install {machine.firmware_package}",
        )


def _hardware(request: BootRequest, machine: _Machine) -> list[str]:
    threads = ",thread=multi" if request.accelerator is Accelerator.TCG else ""
    return [
        *("-accel", f"{request.accelerator}{threads}"),
        *("-cpu", "host" if request.accelerator is Accelerator.KVM else machine.cpu),
        *("-m", str(request.memory_mb), "-smp", str(request.cpus)),
        *("-nodefaults", "-nographic", "-no-reboot", "-monitor", "none", "-serial", "stdio"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-device", "virtio-rng-pci"),
        # DHCP answers, all else is dropped; without its ROM the card is nothing to boot from.
        *("-netdev", "user,id=net,restrict=on"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    ]


def _drives(request: BootRequest, machine: _Machine, scratch: Path) -> list[str]:
    seed = scratch / "seed"
    seed.mkdir()
    for name, content in _CLOUD_SEED.items():
        (seed / name).write_text(content)
    disk = f"if=none,id=disk,format=raw,snapshot=on,file={_escaped(request.disk)}"
    label = "label=cidata,read-only=on"
    drives = [
        *("-drive", disk, "-device", "virtio-blk-pci,drive=disk,bootindex=1"),
        *("-drive", f"if=none,id=seed,driver=vvfat,dir={_escaped(seed)},{label}"),
        *("-device", "virtio-blk-pci,drive=seed"),
    ]
    if request.boot is BootMode.BIOS:
        return drives
    variables = scratch / "variables"
    shutil.copyfile(machine.variables, variables)
    firmware = f"if=pflash,unit=0,format=raw,readonly=on,file={_escaped(machine.firmware)}"
    return [
        *("-drive", firmware, "-drive", f"if=pflash,unit=1,format=raw,file={_escaped(variables)}"),
        *drives,
    ]


def _marker(request: BootRequest, token: str) -> list[str]:
    strings = oem_strings(token, request.timeout_seconds, request.commands)
    return ["-smbios", ",".join(["type=11", *(f"value={string}" for string in strings)])]


def _escaped(path: Path) -> str:
    """A path as a value in one of QEMU's comma-separated lists."""
    return str(path.absolute()).replace(",", ",,")

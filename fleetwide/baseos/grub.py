"""How GRUB starts a disk: its configuration, its modules, and its first sectors."""

import struct
from collections.abc import Container

from fleetwide.models.baseos import Architecture, BootMode

PLATFORMS = {
    (BootMode.BIOS, Architecture.AMD64): "i386-pc",
    (BootMode.UEFI, Architecture.AMD64): "x86_64-efi",
    (BootMode.UEFI, Architecture.ARM64): "arm64-efi",
}
EFI_NAMES = {Architecture.AMD64: "BOOTX64.EFI", Architecture.ARM64: "BOOTAA64.EFI"}
"""What firmware starts from a disk that it has never seen."""
GRUB_FOLDER = "/boot/grub"
MAX_CORE_SECTORS = 2047
"""The core image lies between the boot sector and the first partition."""

# Everything that the configuration needs, so that no module is read from the disk.
_COMMON = (
    *("ext2", "search", "search_fs_uuid", "configfile", "normal", "linux", "gzio"),
    *("terminal", "all_video", "echo", "test", "minicmd", "ls", "cat", "reboot", "halt"),
)
_PLATFORM_MODULES = {
    "i386-pc": ["biosdisk", "part_msdos", "serial"],
    "x86_64-efi": ["part_gpt", "fat", "serial"],
    "arm64-efi": ["part_gpt", "fat"],
}
# Ubuntu's linux module is a door to this one.
_WHERE_OFFERED = ("linuxefi",)
_SECTOR = 512
# Offsets in GRUB's boot.img and diskboot.img; they are the interface between the two and the tool
# that installs them, and have not changed since GRUB 1.97.
_KERNEL_SECTOR = 0x5C
_DRIVE_CHECK = 0x66
_PARTITION_TABLE = 0x1B8
_BLOCK_LIST = _SECTOR - 12
_LOAD_SEGMENT = 0x820
_SERIAL = """\
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
"""


def grub_modules(platform: str, offered: Container[str]) -> list[str]:
    """The modules that go into the core image of a platform; ``offered`` are those of its GRUB."""
    further = [name for name in _WHERE_OFFERED if name in offered]
    return [*_PLATFORM_MODULES[platform], *_COMMON, *further]


def early_config(root_uuid: str) -> str:
    """What the core image runs first: it finds the root by its UUID, wherever the disk hangs."""
    return f"search --no-floppy --fs-uuid --set=root {root_uuid}\nset prefix=($root){GRUB_FOLDER}\n"


def grub_config(kernel: str, root_uuid: str, cmdline: str, platform: str) -> str:
    """grub.cfg: the kernel, and the kernel in recovery; the menu shows when a key is pressed."""
    base = f"root=UUID={root_uuid} ro console=tty0 console=ttyS0,115200"
    normal = " ".join(f"{base} {cmdline}".split())
    serial = _SERIAL if "serial" in _PLATFORM_MODULES[platform] else ""
    return (
        f"search --no-floppy --fs-uuid --set=root {root_uuid}\n"
        f"set default=0\nset timeout_style=hidden\nset timeout=1\n{serial}\n"
        + _entry(f"Linux {kernel}", kernel, normal)
        + _entry(f"Linux {kernel} (recovery)", kernel, f"{normal} single")
    )


def _entry(title: str, kernel: str, words: str) -> str:
    return (
        f"menuentry '{title}' {{\n"
        f"  linux /boot/vmlinuz-{kernel} {words}\n"
        f"  initrd /boot/initrd.img-{kernel}\n}}\n"
    )


def boot_sector(boot_image: bytes, table: bytes) -> bytes:
    """The first sector: GRUB's code, told that its core starts in sector 1, before ``table``.

    ``table`` is the sector as the partitioner left it; its disk id and partitions stay.
    """
    sector = bytearray(boot_image[:_PARTITION_TABLE] + table[_PARTITION_TABLE:_SECTOR])
    struct.pack_into("<Q", sector, _KERNEL_SECTOR, 1)
    # Two no-ops make GRUB not trust the drive number of firmware that gets it wrong.
    sector[_DRIVE_CHECK : _DRIVE_CHECK + 2] = b"\x90\x90"
    return bytes(sector)


def placed_core(core: bytes) -> bytes:
    """The core image with the list of its own sectors: all that follow the first, in one run.

    Raises ValueError when it is larger than the gap before the first partition.
    """
    sectors = -(-len(core) // _SECTOR)
    if sectors > MAX_CORE_SECTORS:
        raise ValueError(f"GRUB's core has {sectors} sectors; {MAX_CORE_SECTORS} fit")
    placed = bytearray(core.ljust(sectors * _SECTOR, b"\0"))
    struct.pack_into("<QHH", placed, _BLOCK_LIST, 2, sectors - 1, _LOAD_SEGMENT)
    return bytes(placed)

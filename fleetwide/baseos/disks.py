"""What a VM disk looks like: partitions, identifiers, file tables, and how much fits on it.

All numbers of bytes are whole MiB where partitions are concerned, so that a partition starts and
ends where every storage likes it. Identifiers derive from a seed (the lock's digest): the same lock
gives the same disk.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from fleetwide.baseos.debversions import version_key
from fleetwide.models.baseos import MIB, Architecture, BootMode

SECTOR = 512
BLOCK = 4096
INODE_SIZE = 256
ROOT_LABEL = "root"
ESP_SIZE = 64 * MIB
EMPTIED = ("dev", "proc", "run", "sys", "tmp")
"""Folders whose content belongs to the running machine, never to its disk."""

_GAP = MIB
_GPT_TAIL = MIB
_BYTES_PER_INODE = 16384
_SPARE = 0.05
_STEP = 256 * MIB
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:fleetwide:disk")
_KERNEL = re.compile(r"vmlinuz-([A-Za-z0-9][A-Za-z0-9.+~_-]*)")
# What systemd and other readers of the Discoverable Partitions Specification call a root.
_ROOT_TYPES = {
    Architecture.AMD64: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    Architecture.ARM64: "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
}
_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


@dataclass(frozen=True)
class DiskIds:
    """Every identifier on a disk."""

    root: str
    """UUID of the root file system."""
    hash_seed: str
    """UUID that its folders are hashed with."""
    disk: str
    root_partition: str
    esp_partition: str
    mbr: str
    """Eight hexadecimal digits."""
    esp: str
    """Volume id of the EFI system partition, eight hexadecimal digits."""

    @property
    def esp_uuid(self) -> str:
        """The volume id as Linux writes it."""
        return f"{self.esp[:4]}-{self.esp[4:]}".upper()


def disk_ids(seed: str, boot: BootMode) -> DiskIds:
    """The identifiers that belong to ``seed``; disks that boot otherwise get others."""

    def derived(name: str) -> uuid.UUID:
        return uuid.uuid5(_NAMESPACE, f"{seed}/{boot}/{name}")

    return DiskIds(
        root=str(derived("root")),
        hash_seed=str(derived("hash-seed")),
        disk=str(derived("disk")),
        root_partition=str(derived("root-partition")),
        esp_partition=str(derived("esp-partition")),
        mbr=derived("mbr").hex[:8],
        esp=derived("esp").hex[:8],
    )


@dataclass(frozen=True)
class Partition:
    """Where a partition lies, in bytes."""

    start: int
    size: int


@dataclass(frozen=True)
class DiskLayout:
    """Where everything lies on a disk of ``size`` bytes."""

    size: int
    root: Partition
    esp: Partition | None


def disk_layout(size: int, boot: BootMode) -> DiskLayout:
    """The layout of a disk of at least ``size`` bytes, rounded up to whole MiB.

    BIOS: the boot loader lies in the first MiB, the root takes the rest. UEFI: an EFI system
    partition comes before the root, the copy of the partition table after it.
    """
    whole = -(-size // MIB) * MIB
    if boot is BootMode.BIOS:
        return DiskLayout(whole, Partition(_GAP, whole - _GAP), None)
    start = _GAP + ESP_SIZE
    return DiskLayout(whole, Partition(start, whole - start - _GPT_TAIL), Partition(_GAP, ESP_SIZE))


def partition_table(layout: DiskLayout, ids: DiskIds, architecture: Architecture) -> str:
    """The table in the words of sfdisk(8): MBR without an EFI system partition, else GPT."""
    root = f"start={layout.root.start // SECTOR}, size={layout.root.size // SECTOR}"
    if layout.esp is None:
        return f"label: dos\nlabel-id: 0x{ids.mbr}\nunit: sectors\n\n{root}, type=83, bootable\n"
    esp = f"start={layout.esp.start // SECTOR}, size={layout.esp.size // SECTOR}"
    return (
        f"label: gpt\nlabel-id: {ids.disk.upper()}\nunit: sectors\n\n"
        f'{esp}, type={_ESP_TYPE}, uuid={ids.esp_partition.upper()}, name="esp"\n'
        f"{root}, type={_ROOT_TYPES[architecture]}, "
        f'uuid={ids.root_partition.upper()}, name="root"\n'
    )


def file_table(layout: DiskLayout, ids: DiskIds) -> str:
    """/etc/fstab. A machine whose EFI system partition is gone still starts."""
    lines = [f"UUID={ids.root} / ext4 defaults,errors=remount-ro 0 1"]
    if layout.esp is not None:
        lines.append(f"UUID={ids.esp_uuid} /boot/efi vfat umask=0077,nofail 0 0")
    return "\n".join(lines) + "\n"


def newest_kernel(boot_files: Iterable[str]) -> str | None:
    """The version of the newest kernel among the names in /boot, in Debian's order."""
    matches = (_KERNEL.fullmatch(name) for name in boot_files)
    return max((found[1] for found in matches if found), key=version_key, default=None)


@dataclass(frozen=True)
class Usage:
    """What a tree takes in the file system."""

    blocks: int
    """Of 4096 bytes."""
    inodes: int


def inode_count(root_size: int, usage: Usage) -> int:
    """One inode for 16 KiB, and more for a tree of many small files."""
    return max(root_size // _BYTES_PER_INODE, usage.inodes * 5 // 4)


def journal_mib(root_size: int) -> int:
    """A 64th of the file system, from 4 to 64 MiB."""
    return min(max(root_size // 64 // MIB, 4), 64)


def fits(root_size: int, usage: Usage) -> bool:
    """Whether the tree goes in and leaves the machine a twentieth of it to breathe."""
    tables = inode_count(root_size, usage) * INODE_SIZE + journal_mib(root_size) * MIB
    # Bitmaps, group descriptors and the room that they keep for growing.
    room = root_size - tables - root_size // 100
    return usage.blocks * BLOCK * (1 + _SPARE) <= room


def needed_size(usage: Usage, boot: BootMode, *, above: int = 0) -> int:
    """Bytes of the smallest disk above ``above`` that takes the tree, in steps of 256 MiB."""
    size = max(usage.blocks * BLOCK, above) // _STEP * _STEP + _STEP
    while not fits(disk_layout(size, boot).root.size, usage):
        size += _STEP
    return size


def size_text(size: int) -> str:
    """``size`` bytes as a spec writes them."""
    whole, rest = divmod(size, 1024 * MIB)
    if rest == 0:
        return f"{whole}GiB"
    return f"{size // MIB}MiB" if size % MIB == 0 else str(size)

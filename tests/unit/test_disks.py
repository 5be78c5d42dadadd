import hashlib
import struct
import uuid
from pathlib import Path

import pytest

from fleetwide.baseos.disks import (
    Usage,
    disk_ids,
    disk_layout,
    file_table,
    needed_size,
    newest_kernel,
    partition_table,
    size_text,
)
from fleetwide.baseos.ext4 import AddedFile, Touches, debugfs_script
from fleetwide.baseos.grub import PLATFORMS, boot_sector, grub_config, grub_modules, placed_core
from fleetwide.errors import BuildFailed, InvalidInput, PlatformError
from fleetwide.models.baseos import MIB, Architecture, BootMode
from fleetwide.providers.disks import DiskRequest, digest_disk, write_disk
from fleetwide.providers.progress import no_progress

GIB = 1024 * MIB
SEED = "sha256:" + "a" * 64
IDS = disk_ids(SEED, BootMode.UEFI)


def test_identifiers_are_the_seed_s_and_no_two_are_alike() -> None:
    assert disk_ids(SEED, BootMode.UEFI) == IDS
    found = vars(IDS).values()
    assert len(set(found)) == len(found)
    assert not set(found) & set(vars(disk_ids(SEED, BootMode.BIOS)).values())
    assert not set(found) & set(vars(disk_ids("other", BootMode.UEFI)).values())


def test_a_bios_disk_leaves_the_first_mib_to_the_boot_loader() -> None:
    layout = disk_layout(GIB, BootMode.BIOS)
    assert (layout.root.start, layout.root.size, layout.esp) == (MIB, GIB - MIB, None)
    table = partition_table(layout, IDS, Architecture.AMD64)
    assert table.splitlines()[-1] == "start=2048, size=2095104, type=83, bootable"
    assert f"label-id: 0x{IDS.mbr}" in table


def test_a_uefi_disk_has_an_efi_partition_and_room_for_both_tables() -> None:
    layout = disk_layout(GIB, BootMode.UEFI)
    assert layout.esp is not None
    assert layout.esp.start == MIB
    assert layout.esp.start + layout.esp.size == layout.root.start
    assert layout.root.start + layout.root.size == GIB - MIB


def test_each_architecture_has_a_root_type_of_its_own() -> None:
    layout = disk_layout(GIB, BootMode.UEFI)
    amd, arm = (partition_table(layout, IDS, architecture) for architecture in Architecture)
    assert "type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" in amd
    assert "type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE" in arm


def test_an_odd_size_becomes_whole_mib() -> None:
    assert disk_layout(GIB + 1, BootMode.BIOS).size == GIB + MIB


def test_the_file_table_names_partitions_by_their_identifiers() -> None:
    bios = file_table(disk_layout(GIB, BootMode.BIOS), IDS)
    uefi = file_table(disk_layout(GIB, BootMode.UEFI), IDS)
    assert bios == f"UUID={IDS.root} / ext4 defaults,errors=remount-ro 0 1\n"
    assert uefi == bios + f"UUID={IDS.esp_uuid} /boot/efi vfat umask=0077,nofail 0 0\n"
    assert uuid.UUID(IDS.root).version == 5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["vmlinuz", "vmlinuz.old", "initrd.img-6.1.0-9", "config-6.1.0-9"], None),
        (["vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-37-cloud-amd64"], "6.1.0-37-cloud-amd64"),
        (["vmlinuz-6.12.1", "vmlinuz-6.12.1~rc2"], "6.12.1"),
        (["vmlinuz-6.1.0-9 x"], None),
    ],
)
def test_the_newest_kernel_is_chosen_in_debian_s_order(
    names: list[str], expected: str | None
) -> None:
    assert newest_kernel(names) == expected


def test_the_needed_size_is_above_what_was_given() -> None:
    usage = Usage(blocks=100_000, inodes=10_000)
    needed = needed_size(usage, BootMode.BIOS)
    assert needed == 512 * MIB
    assert needed_size(usage, BootMode.BIOS, above=needed) == needed + 256 * MIB


def test_a_tree_of_small_files_needs_room_for_its_inodes() -> None:
    small_files = Usage(blocks=100_000, inodes=1_000_000)
    assert needed_size(small_files, BootMode.BIOS) == 768 * MIB


@pytest.mark.parametrize(
    ("size", "text"), [(2 * GIB, "2GiB"), (1792 * MIB, "1792MiB"), (1000, "1000")]
)
def test_sizes_are_told_as_a_spec_takes_them(size: int, text: str) -> None:
    assert size_text(size) == text


def test_the_menu_has_the_kernel_and_its_recovery() -> None:
    menu = grub_config("6.1.0-37", IDS.root, " quiet  panic=10 ", "i386-pc")
    words = f"root=UUID={IDS.root} ro console=tty0 console=ttyS0,115200 quiet panic=10"
    assert f"  linux /boot/vmlinuz-6.1.0-37 {words}\n" in menu
    assert f"  linux /boot/vmlinuz-6.1.0-37 {words} single\n" in menu
    assert menu.count("  initrd /boot/initrd.img-6.1.0-37\n") == 2
    assert "set timeout=1\n" in menu


@pytest.mark.parametrize("platform", sorted(PLATFORMS.values()))
def test_only_a_platform_with_the_module_is_told_to_use_serial(platform: str) -> None:
    menu = grub_config("6.1.0-37", IDS.root, "", platform)
    assert ("serial --unit" in menu) == ("serial" in grub_modules(platform, ()))


def test_ubuntu_s_loader_for_efi_goes_in_where_there_is_one() -> None:
    assert "linuxefi" not in grub_modules("x86_64-efi", {"linux", "ext2"})
    assert "linuxefi" in grub_modules("x86_64-efi", {"linux", "ext2", "linuxefi"})


def test_the_boot_sector_keeps_the_partition_table() -> None:
    boot_image = b"\xeb" * 512
    table = bytes(440) + bytes(range(72))
    sector = boot_sector(boot_image, table)
    assert len(sector) == 512
    assert sector[440:] == table[440:]
    assert struct.unpack_from("<Q", sector, 0x5C) == (1,)
    assert sector[0x66:0x68] == b"\x90\x90"
    assert sector[:0x5C] == b"\xeb" * 0x5C


def test_the_core_lists_its_own_sectors() -> None:
    placed = placed_core(b"x" * 1100)
    assert len(placed) == 3 * 512
    assert struct.unpack_from("<QHH", placed, 500) == (2, 2, 0x820)
    with pytest.raises(ValueError, match="2048 sectors; 2047 fit"):
        placed_core(bytes(2048 * 512))


def touches(*late: str) -> Touches:
    added = AddedFile("/etc/fstab", "/work/etc-fstab", replaces=True)
    return Touches(1000, 12, late, 900, ("/boot/grub",), (added,))


def test_the_script_sets_times_first_and_adds_files_then() -> None:
    lines = debugfs_script(touches("a b", 'say "hi"', "r\udce9sum")).split(b"\n")
    assert [line for line in lines if b"time" in line] == [
        b"sif <2> mtime @1000",
        b"sif <2> atime @1000",
        b"sif <2> ctime @1000",
        b"sif <11> atime @1000",
        b"sif <11> ctime @1000",
        b"sif <12> atime @1000",
        b"sif <12> ctime @1000",
        b'sif "/a b" mtime @900',
        b'sif "/say ""hi""" mtime @900',
        b'sif "/r\xe9sum" mtime @900',
    ]
    assert lines[-6:] == [
        b"mkdir /boot/grub",
        b"rm /etc/fstab",
        b"cd /etc",
        b"write /work/etc-fstab fstab",
        b"sif fstab mode 0100644",
        b"",
    ]


def test_a_line_break_in_a_name_cannot_become_a_command() -> None:
    with pytest.raises(BuildFailed, match="line break"):
        debugfs_script(touches("etc/x\nrm /etc/passwd"))


def test_holes_are_hashed_as_zeros_and_not_counted(tmp_path: Path) -> None:
    block = 512 * 1024
    content = bytearray(9 * block)
    content[2 * block + 7] = 1
    content[5 * block] = 1
    disk = tmp_path / "disk"
    with disk.open("wb") as raw:
        raw.truncate(len(content))
        for place in (2 * block + 7, 5 * block):
            raw.seek(place)
            raw.write(b"\1")
        raw.seek(7 * block)
        raw.write(bytes(block))
    expected = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert digest_disk(disk, no_progress) == (expected, 2 * block)


def request(tmp_path: Path, **more: object) -> DiskRequest:
    given = {
        "tree": tmp_path / "tree",
        "tools": tmp_path / "tools",
        "target": tmp_path / "disk.raw",
        "size": GIB,
        "boot": BootMode.BIOS,
        "architecture": Architecture.AMD64,
        "epoch": 1_760_000_000,
        "seed": SEED,
        **more,
    }
    return DiskRequest(**given)  # type: ignore[arg-type]


def test_arm_has_no_bios(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="arm64 has no BIOS") as caught:
        write_disk(request(tmp_path, architecture=Architecture.ARM64), no_progress)
    assert caught.value.hint == "set `vm.boot: uefi`"


@pytest.mark.parametrize("machine", [40, 183])
def test_tools_of_another_architecture_are_told(tmp_path: Path, machine: int) -> None:
    programs = tmp_path / "tools/usr/bin"
    programs.mkdir(parents=True)
    header = b"\x7fELF".ljust(18, b"\0") + machine.to_bytes(2, "little")
    (programs / "grub-mkimage").write_bytes(header)
    with pytest.raises(InvalidInput, match="a machine of its own architecture"):
        write_disk(request(tmp_path), no_progress)


def test_tools_without_grub_are_the_platform_s_fault(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no grub-mkimage"):
        write_disk(request(tmp_path), no_progress)

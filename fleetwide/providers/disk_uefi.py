"""Make a disk start from UEFI firmware: GRUB lies in an EFI system partition."""

from fleetwide.baseos.disks import SECTOR, DiskIds, Partition
from fleetwide.baseos.grub import EFI_NAMES, PLATFORMS, early_config
from fleetwide.models.baseos import Architecture, BootMode
from fleetwide.providers.disk_tools import DISK, Workbench
from fleetwide.providers.progress import Progress


def install_uefi_loader(
    bench: Workbench,
    esp: Partition,
    ids: DiskIds,
    architecture: Architecture,
    progress: Progress,
) -> None:
    """Write the EFI system partition: FAT32 with GRUB where firmware looks on an unknown disk."""
    platform = PLATFORMS[BootMode.UEFI, architecture]
    name = EFI_NAMES[architecture]
    start = esp.start // SECTOR
    (bench.folder / "early.cfg").write_text(early_config(ids.root))
    bench.run(
        "writing the boot loader",
        f"grub-mkimage -O {platform} -o /work/{name} -c /work/early.cfg "
        f"-p /EFI/BOOT {' '.join(bench.grub_modules(platform))}\n"
        # Not every release's mkfs.vfat takes SOURCE_DATE_EPOCH for the label's time. The volume
        # id comes last, since --invariant sets one too.
        f"mkfs.vfat --invariant --offset {start} -h {start} -F 32 -s 1 -S {SECTOR} -n ESP "
        f"-i {ids.esp} {DISK} {esp.size // 1024}\n"
        f"mmd -i {DISK}@@{esp.start} ::/EFI ::/EFI/BOOT\n"
        f"mcopy -i {DISK}@@{esp.start} /work/{name} ::/EFI/BOOT/{name}",
        progress,
    )

"""Make a disk start from BIOS firmware: GRUB lies in the gap before the first partition."""

from fleetwide.baseos.disks import SECTOR, DiskIds
from fleetwide.baseos.grub import GRUB_FOLDER, boot_sector, early_config, placed_core
from fleetwide.errors import PlatformError
from fleetwide.providers.disk_tools import Workbench
from fleetwide.providers.progress import Progress

PLATFORM = "i386-pc"
_CORE = "core.img"


def install_bios_loader(bench: Workbench, ids: DiskIds, progress: Progress) -> None:
    """Write GRUB's boot sector and core image onto the partitioned disk. No file system needed."""
    (bench.folder / "early.cfg").write_text(early_config(ids.root))
    bench.run(
        "writing the boot loader",
        f"grub-mkimage -O {PLATFORM} -o /work/{_CORE} -c /work/early.cfg "
        f"-p '(hd0,msdos1){GRUB_FOLDER}' {' '.join(bench.grub_modules(PLATFORM))}",
        progress,
    )
    boot_image = (bench.tools / f"usr/lib/grub/{PLATFORM}/boot.img").read_bytes()
    try:
        core = placed_core((bench.folder / _CORE).read_bytes())
    except ValueError as error:
        raise PlatformError(str(error)) from error
    with bench.disk.open("r+b") as disk:
        table = disk.read(SECTOR)
        disk.seek(0)
        disk.write(boot_sector(boot_image, table) + core)

"""Write a bootable disk from a root file system tree, with the release's own tools.

No loop device, no mount on the machine, and the same bytes for the same tree, tools, epoch and
seed. The disk is a sparse raw file.
"""

import errno
import hashlib
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.disks import (
    DiskIds,
    DiskLayout,
    disk_ids,
    disk_layout,
    file_table,
    fits,
    needed_size,
    newest_kernel,
    partition_table,
    size_text,
)
from fleetwide.baseos.grub import GRUB_FOLDER, PLATFORMS, grub_config
from fleetwide.errors import BuildFailed, InvalidInput, PlatformError
from fleetwide.models.baseos import Architecture, BootMode
from fleetwide.providers.architectures import this_architecture
from fleetwide.providers.disk_bios import install_bios_loader
from fleetwide.providers.disk_root import (
    RootRequest,
    RootTooSmall,
    TreeScan,
    scan_tree,
    write_root,
)
from fleetwide.providers.disk_tools import DISK, Workbench, full_disk_told
from fleetwide.providers.disk_uefi import install_uefi_loader
from fleetwide.providers.progress import Progress, Throttled, span

USED_BLOCK = 512 * 1024
"""What block storage takes and counts: all-zero blocks of this size cost nothing."""
_ZEROS = bytes(USED_BLOCK)
_ELF_MACHINES = {62: Architecture.AMD64, 183: Architecture.ARM64}


@dataclass(frozen=True)
class DiskRequest:
    """What a disk is made of."""

    tree: Path
    """The finished root file system; it is only read."""
    tools: Path
    """A tree of the same suite with e2fsprogs, fdisk, dosfstools, mtools and GRUB."""
    target: Path
    """Raw sparse file to write; one that is there is replaced."""
    size: int
    """Bytes; rounded up to whole MiB."""
    boot: BootMode
    architecture: Architecture
    epoch: int
    """Seconds since 1970; no time in the image lies behind it."""
    seed: str
    """Identifiers on the disk derive from it, for example the lock's digest."""
    cmdline: str = ""
    """More kernel parameters."""


@dataclass(frozen=True)
class WrittenDisk:
    """A disk that lies at its target."""

    digest: str
    """sha256 of the raw bytes."""
    size: int
    used: int
    """Bytes of 512 KiB blocks that are not all zero."""
    root_uuid: str


def write_disk(request: DiskRequest, progress: Progress) -> WrittenDisk:
    """Write the disk of ``request``.

    Raises ``InvalidInput`` for an architecture or boot mode that cannot be written here,
    ``BuildFailed`` for a tree without kernel or initrd and for a disk that is too small,
    ``PlatformError`` when a tool fails or the builder is full, and whatever ``progress`` raises.
    When it raises, there is no file at the target; a killed process leaves a folder ``.disk-*``
    next to it.
    """
    request.target.unlink(missing_ok=True)
    _check_tools(request)
    layout = disk_layout(request.size, request.boot)
    ids = disk_ids(request.seed, request.boot)
    scan = scan_tree(request.tree, request.epoch, span(progress, 0.0, 0.1))
    root = _root_request(request, scan, layout, ids)
    if not fits(layout.root.size, scan.usage):
        raise _too_small(request, scan)
    with (
        full_disk_told(request.target),
        tempfile.TemporaryDirectory(prefix=".disk-", dir=request.target.parent) as folder,
    ):
        bench = Workbench(request.tools, Path(folder), request.epoch)
        _partition(bench, request, layout, ids, span(progress, 0.1, 0.15))
        _install_loader(bench, request, layout, ids, span(progress, 0.15, 0.25))
        try:
            write_root(bench, root, span(progress, 0.25, 0.9))
        except RootTooSmall:
            raise _too_small(request, scan) from None
        digest, used = digest_disk(bench.disk, span(progress, 0.9, 1.0))
        bench.disk.replace(request.target)
    return WrittenDisk(digest, layout.size, used, ids.root)


def _install_loader(
    bench: Workbench, request: DiskRequest, layout: DiskLayout, ids: DiskIds, progress: Progress
) -> None:
    if layout.esp is None:
        install_bios_loader(bench, ids, progress)
    else:
        install_uefi_loader(bench, layout.esp, ids, request.architecture, progress)


def _check_tools(request: DiskRequest) -> None:
    wanted = (request.boot, request.architecture)
    if wanted not in PLATFORMS:
        raise InvalidInput.for_field(
            "vm.boot",
            f"{request.architecture} has no BIOS",
            given=str(request.boot),
            hint="set `vm.boot: uefi`",
        )
    machine = this_architecture()
    tools = _architecture_of(request.tools)
    if machine is not request.architecture or tools is not machine:
        raise InvalidInput.for_field(
            "architecture",
            f"this builder is {machine or platform.machine()}, the tools are {tools}; "
            "a disk is written on a machine of its own architecture",
            given=str(request.architecture),
            hint=f"use a builder of {request.architecture}",
        )
    modules = request.tools / f"usr/lib/grub/{PLATFORMS[wanted]}"
    if not modules.is_dir():
        raise PlatformError(
            f"the tools tree has no /usr/lib/grub/{PLATFORMS[wanted]}",
            hint="add grub-pc-bin, grub-efi-amd64-bin or grub-efi-arm64-bin to the tools",
        )


def _architecture_of(tools: Path) -> Architecture | None:
    """What the tools run on, by the header of one of them."""
    try:
        with (tools / "usr/bin/grub-mkimage").open("rb") as program:
            header = program.read(20)
    except FileNotFoundError:
        raise PlatformError(
            "the tools tree has no grub-mkimage", hint="add grub-common to the tools"
        ) from None
    return _ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))


def _kernel(tree: Path) -> str:
    """The version of the newest kernel of the tree, which has an initrd."""
    boot = tree / "boot"
    names = {entry.name for entry in boot.iterdir()} if boot.is_dir() else set()
    kernel = newest_kernel(names)
    if kernel is None:
        raise BuildFailed(
            "the root file system has no kernel: no file /boot/vmlinuz-*",
            hint="name a kernel package as `vm.kernel`, for example linux-image-cloud-amd64",
        )
    if f"initrd.img-{kernel}" not in names:
        raise BuildFailed(
            f"the kernel {kernel} has no initial file system: no file /boot/initrd.img-{kernel}",
            hint="add initramfs-tools to `vm.packages`",
        )
    return kernel


def _too_small(request: DiskRequest, scan: TreeScan) -> BuildFailed:
    needed = needed_size(scan.usage, request.boot, above=request.size)
    return BuildFailed(
        f"the disk is too small: {size_text(request.size)} given, {size_text(needed)} needed",
        hint=f"set `vm.size: {size_text(needed)}`",
    )


def _partition(
    bench: Workbench, request: DiskRequest, layout: DiskLayout, ids: DiskIds, progress: Progress
) -> None:
    with bench.disk.open("xb") as disk:
        disk.truncate(layout.size)
    (bench.folder / "table").write_text(partition_table(layout, ids, request.architecture))
    bench.run("partitioning the disk", f"sfdisk --quiet {DISK} < /work/table", progress)


def _root_request(
    request: DiskRequest, scan: TreeScan, layout: DiskLayout, ids: DiskIds
) -> RootRequest:
    kernel = _kernel(request.tree)
    menu = grub_config(
        kernel, ids.root, request.cmdline, PLATFORMS[request.boot, request.architecture]
    )
    return RootRequest(
        tree=request.tree,
        scan=scan,
        partition=layout.root,
        ids=ids,
        files={"/etc/fstab": file_table(layout, ids), f"{GRUB_FOLDER}/grub.cfg": menu},
        folders=(GRUB_FOLDER, *(["/boot/efi"] if layout.esp else [])),
    )


def digest_disk(disk: Path, progress: Progress) -> tuple[str, int]:
    """The sha256 of a raw file whose size is whole blocks, and its bytes of non-zero blocks.

    Holes are hashed as the zeros that they are, without being read.
    """
    told = Throttled(progress)
    digest, used = hashlib.sha256(), 0
    size = disk.stat().st_size
    buffer = bytearray(USED_BLOCK)
    data = -1
    with disk.open("rb", buffering=0) as raw:
        for start in range(0, size, USED_BLOCK):
            told("reading the disk back", start / size)
            if data < start:
                data = _next_data(raw.fileno(), start, size)
            if data >= start + USED_BLOCK:
                digest.update(_ZEROS)
                continue
            raw.seek(start)
            raw.readinto(buffer)
            digest.update(buffer)
            used += USED_BLOCK if buffer != _ZEROS else 0
    return f"sha256:{digest.hexdigest()}", used


def _next_data(descriptor: int, start: int, size: int) -> int:
    """Where the first data at or behind ``start`` lies; ``size`` when only a hole follows."""
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise

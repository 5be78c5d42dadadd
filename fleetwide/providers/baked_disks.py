"""VM bakes: artifacts onto a copy of the base release's disk, without mounting it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fleetwide.bakery.workload_units import (
    UNIT_FOLDER,
    VENDOR_FOLDERS,
    WANTS_FOLDER,
    has_unit,
    unit_name,
    workload_unit,
)
from fleetwide.baseos.disks import disk_layout
from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from fleetwide.errors import ArtifactRejected, InvalidInput, PlatformError
from fleetwide.models.bakes import BakedDisk, ResolvedBake
from fleetwide.models.os_releases import DiskImage
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.compress import compress_layer
from fleetwide.providers.disk_patch import PatchRequest, patch_disk
from fleetwide.providers.disk_tools import Workbench, full_disk_told
from fleetwide.providers.layers import LayerEntry, plain_entries
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.os_builds import DISK_LEVEL
from fleetwide.providers.payloads import Payload
from fleetwide.providers.progress import Progress, meanwhile, span
from fleetwide.providers.sandbox import run_isolated
from fleetwide.providers.sparse_disks import compare_disks, open_disk
from fleetwide.registry.digests import hex_of

RAW = "disk.raw"
PACKED = "disk.raw.gz"


@dataclass(frozen=True)
class DiskBake:
    """What a VM bake is made of, all on this builder."""

    bake: ResolvedBake
    payload: Payload
    """Made with ``tree`` as its base."""
    disk: Path
    """The base's raw disk; it is only read."""
    tree: Path
    """The root file system that lies on the disk, unpacked; it is only read."""
    tools: Path
    """The disk tools of the base's own lock."""
    workdir: Path
    """A folder of this bake's own."""
    env: dict[str, str]
    """What the platform sets for every workload; the spec's own goes before it."""


DiskBaker = Callable[[DiskBake, Progress], BakedDisk]
"""Leaves the new disk in ``workdir`` as ``RAW`` and ``PACKED``: on a file, or on a volume."""


def bake_disk(request: DiskBake, progress: Progress) -> BakedDisk:
    """Put the payload and the workload's unit onto a copy of the base's disk.

    The same inputs give the same bytes. Raises ``BuildFailed`` for a disk that is too small,
    ``ArtifactRejected`` for what cannot be on one, ``InvalidInput`` for a name that is a unit of
    the base, ``PlatformError`` when this builder fails, and whatever ``progress`` raises.
    """
    started = time.monotonic()
    base = base_disk(request.bake)
    entries = vm_entries(request)
    bench = Workbench(request.tools, request.workdir, request.bake.base.created_epoch)
    with full_disk_told(request.workdir / RAW):
        copy_disk(request.disk, bench.disk, span(progress, 0.0, 0.1))
        subject = f"{request.bake.base.name} {request.bake.base.version}"
        partition = disk_layout(base.size, base.boot).root
        patch = PatchRequest(partition, request.tree, entries, subject)
        patch_disk(bench, patch, span(progress, 0.1, 0.6))
        return describe_disk(request, started, span(progress, 0.6, 1.0))


def describe_disk(request: DiskBake, started: float, progress: Progress) -> BakedDisk:
    """Measure and pack the finished ``RAW``; ``started`` is by the monotonic clock."""
    base, raw = base_disk(request.bake), request.workdir / RAW
    with open_disk(request.disk) as before, open_disk(raw) as after:
        compared = compare_disks(before, after, span(progress, 0.0, 0.2))
    packed = request.workdir / PACKED
    # Packing reads every byte anyway: it tells the disk's digest.
    packing = span(progress, 0.2, 1.0)
    digest = compress_layer(raw, packed, packing, level=DISK_LEVEL).layer.diff_id
    seconds = round(time.monotonic() - started, 3)
    disk = DiskImage(
        digest=digest,
        size=base.size,
        used=compared.used_blocks * BLOCK_BYTES,
        boot=base.boot,
        architecture=base.architecture,
        key=f"bakery/disks/{hex_of(digest)}.raw.gz",
        root_uuid=base.root_uuid,
        seconds=seconds,
    )
    return BakedDisk(
        disk=disk,
        changed_bytes=compared.changed_blocks * BLOCK_BYTES,
        packages=request.payload.packages,
        build_seconds=seconds,
    )


def keep_disk(
    baked: BakedDisk, workdir: Path, cache: BuilderCache, objects: ObjectStore, progress: Progress
) -> None:
    """Store the packed disk for any builder to go on with; the raw one stays on this builder."""
    packed, key = workdir / PACKED, baked.disk.key
    if not objects.exists(key):
        meanwhile(progress, "storing the disk", lambda: objects.put_file(key, packed))
    packed.unlink()
    kept = cache.disk_path(baked.disk.digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    (workdir / RAW).replace(kept)


def vm_entries(request: DiskBake) -> list[LayerEntry]:
    """The payload's entries, and those of the workload's unit where the bake has a command.

    Raises ``ArtifactRejected`` and ``InvalidInput`` as ``bake_disk`` does.
    """
    entries = request.payload.entries
    _check_kernel(entries)
    if not has_unit(request.bake):
        return list(entries)
    _check_unit(request)
    staging = request.workdir / "unit"
    unit = _write_unit(request, staging)
    present = {entry.path for entry in entries} - unit
    epoch = request.bake.base.created_epoch
    added = [one for one in plain_entries(staging, epoch) if one.path not in present]
    return [*(one for one in entries if one.path not in unit), *_as_in_base(added, request.tree)]


def _write_unit(request: DiskBake, staging: Path) -> set[str]:
    """The unit and the link that enables it; their paths in the image."""
    name = unit_name(request.bake)
    file, link = f"{UNIT_FOLDER}/{name}", f"{WANTS_FOLDER}/{name}"
    (staging / WANTS_FOLDER).mkdir(parents=True)
    (staging / file).write_text(workload_unit(request.bake, request.env))
    (staging / link).symlink_to(f"/{file}")
    return {file, link}


def _as_in_base(entries: Iterable[LayerEntry], tree: Path) -> list[LayerEntry]:
    """The entries without the folders that the base has: those stay as they are."""
    return [one for one in entries if not (one.is_folder and (tree / one.path).is_dir())]


def _check_unit(request: DiskBake) -> None:
    name = unit_name(request.bake)
    for folder in (UNIT_FOLDER, *VENDOR_FOLDERS):
        if (request.tree / folder / name).is_symlink() or (request.tree / folder / name).exists():
            raise InvalidInput.for_field(
                "name",
                f"the base has a unit {name} of its own, which the workload's would replace",
                given=request.bake.spec.name,
                hint="give the workload another name",
            )


def _check_kernel(entries: Iterable[LayerEntry]) -> None:
    """The boot menu of a disk is written with the disk, for the release's own kernel."""
    for entry in entries:
        if entry.path.startswith("boot/vmlinuz-"):
            raise ArtifactRejected(
                f"the artifacts bring a kernel, /{entry.path}, which the machine would not start",
                hint="name it in the OS image's spec: vm: {kernel: linux-image-...}",
            )


def base_disk(bake: ResolvedBake) -> DiskImage:
    """The disk that the bake starts from; ``InvalidInput`` when the base has none."""
    base = bake.base
    if base.disk is None:
        raise InvalidInput.for_field(
            "base",
            f"{base.name} {base.version} has no VM face",
            hint=f"in the spec of {base.name}: targets: [container, vm]",
        )
    return base.disk


def copy_disk(source: Path, target: Path, progress: Progress) -> None:
    """A sparse copy of a raw file or a device; where the file system can, both share blocks.

    Raises ``PlatformError`` when it cannot be written, and whatever ``progress`` raises.
    """
    finished = run_isolated(
        ["cp", "--reflink=auto", "--sparse=always", str(source.absolute()), str(target.absolute())],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        progress=lambda _phrase, _fraction: progress("copying the disk", None),
        read=lambda _line: None,
        network=False,
    )
    if finished.returncode != 0:
        raise PlatformError(
            f"{source} could not be copied: {' '.join(finished.lines[-3:])}",
            hint=f"on the builder: df -h {target.parent}",
        )

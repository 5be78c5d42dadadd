"""The two faces of a release, from its lock: the container's layer and the VM's disk."""

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import Face, Target
from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import (
    BuiltDisk,
    DiskImage,
    LockedPlan,
    RootFilesystem,
    StaticReport,
)
from fleetwide.providers.builder_cache import FAILED_TREES_SECONDS, BuilderCache
from fleetwide.providers.compress import compress_layer
from fleetwide.providers.customise import Customisation, ScriptFailed, customise
from fleetwide.providers.disks import DiskRequest, write_disk
from fleetwide.providers.inspect_tree import InspectRequest, inspect_tree
from fleetwide.providers.layers import tree_entries, write_layer
from fleetwide.providers.mmdebstrap import LockedBuild, bootstrap
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.script_limits import ScriptLimits
from fleetwide.registry.digests import hex_of

# A disk is packed only to be stored: most of it is empty, and speed matters more than size.
DISK_LEVEL = 1
MAX_TOLD_FINDINGS = 8
MACHINE_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE})


@dataclass(frozen=True)
class Workshop:
    """Where a build works: its own empty folder, the builder's caches, and its lock."""

    workdir: Path
    cache: BuilderCache
    lock: Lock
    limits: ScriptLimits = field(default_factory=ScriptLimits)


@dataclass(frozen=True)
class BuiltLayer:
    """A finished container face: its compressed layer on disk, and what is known about it."""

    path: Path
    rootfs: RootFilesystem


def build_container(locked: LockedPlan, shop: Workshop, progress: Progress) -> BuiltLayer:
    """The container base as a compressed layer below ``workdir``; the caller removes that folder.

    Raises:
        InvalidInput: the spec names an account, a group or a unit that does not exist.
        BuildFailed: a package or a script failed, or a static check did; the tree is kept a day.
        PlatformError: this machine failed.
    """
    with _machine_faults(shop.workdir):
        return _build_container(locked, shop, progress)


def _build_container(locked: LockedPlan, shop: Workshop, progress: Progress) -> BuiltLayer:
    started = time.monotonic()
    with _tree(locked, shop, Target.CONTAINER, span(progress, 0.0, 0.7)) as (tree, report):
        tar = shop.workdir / "layer.tar"
        entries = tree_entries(tree, locked.source_date_epoch)
        write_layer(entries, tar, span(progress, 0.7, 0.8))
        path = shop.workdir / "layer.tar.gz"
        packed = compress_layer(tar, path, span(progress, 0.8, 1.0))
        tar.unlink()
    rootfs = RootFilesystem(
        layer=packed.layer,
        uncompressed_size=packed.uncompressed_size,
        packages={one.name: one.version for one in shop.lock.of(Face.CONTAINER)},
        source_date_epoch=locked.source_date_epoch,
        report=report,
        build_seconds=round(time.monotonic() - started, 3),
    )
    return BuiltLayer(path, rootfs)


@dataclass(frozen=True)
class PackedDisk:
    """A finished VM face: its disk in the cache, and the packed file to store under its key."""

    path: Path
    built: BuiltDisk


def build_vm(locked: LockedPlan, shop: Workshop, progress: Progress) -> PackedDisk:
    """The VM image: a raw disk in the builder's cache, and packed below ``workdir``.

    Raises what ``build_container`` raises.
    """
    with _machine_faults(shop.workdir):
        return _build_vm(locked, shop, progress)


def _build_vm(locked: LockedPlan, shop: Workshop, progress: Progress) -> PackedDisk:
    started = time.monotonic()
    spec = locked.plan.spec
    build = LockedBuild(spec, shop.lock, locked.source_date_epoch)
    with _tree(locked, shop, Target.VM, span(progress, 0.0, 0.6)) as (tree, report):
        raw = shop.workdir / "disk.raw"
        request = DiskRequest(
            tree=tree,
            tools=shop.cache.tools(build, span(progress, 0.6, 0.65)),
            target=raw,
            size=int(spec.vm.size),
            boot=spec.vm.boot,
            architecture=spec.architecture,
            epoch=locked.source_date_epoch,
            seed=locked.build_key,
            cmdline=spec.vm.cmdline,
        )
        written = write_disk(request, span(progress, 0.65, 0.8))
    packed = shop.workdir / "disk.raw.gz"
    compress_layer(raw, packed, span(progress, 0.8, 1.0), level=DISK_LEVEL)
    kept = shop.cache.disk_path(written.digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    raw.replace(kept)
    disk = DiskImage(
        digest=written.digest,
        size=written.size,
        used=written.used,
        boot=spec.vm.boot,
        architecture=spec.architecture,
        key=f"baseos/disks/{hex_of(written.digest)}.raw.gz",
        root_uuid=written.root_uuid,
        seconds=round(time.monotonic() - started, 3),
    )
    built = BuiltDisk(
        disk=disk,
        packages={one.name: one.version for one in shop.lock.of(Face.VM)},
        report=report,
        build_seconds=disk.seconds,
    )
    return PackedDisk(packed, built)


@contextmanager
def _machine_faults(workdir: Path) -> Iterator[None]:
    """Say what it means when this machine does not take what the build writes."""
    try:
        yield
    except OSError as error:
        if error.errno not in MACHINE_FAULTS:
            raise
        raise PlatformError(
            f"the builder could not write below {workdir}: {error.strerror}",
            hint=f"on the builder: df -h {workdir.parent}",
        ) from error


@contextmanager
def _tree(
    locked: LockedPlan, shop: Workshop, target: Target, progress: Progress
) -> Iterator[tuple[Path, StaticReport]]:
    """A checked root file system; a tree that a script or a check broke is kept for a day."""
    spec = locked.plan.spec
    face = Face(target.value)
    build = LockedBuild(spec, shop.lock, locked.source_date_epoch)
    tree = bootstrap(build, face, shop.cache.pool, shop.workdir, span(progress, 0.0, 0.85))
    request = Customisation(
        plan=locked.plan,
        target=target,
        sources=shop.lock.sources,
        build_key=locked.build_key,
        epoch=locked.source_date_epoch,
        limits=shop.limits,
    )
    keep = _keeper(locked, shop, target, tree)
    try:
        customise(request, tree, shop.workdir, span(progress, 0.85, 0.9))
    except ScriptFailed as error:
        raise keep(error.message, error.output) from error
    report = inspect_tree(
        tree,
        InspectRequest(
            target=target,
            expected={one.name: one.version for one in shop.lock.of(face)},
            setuid_allowed=spec.tests.setuid_allowed,
            commands=spec.tests.commands,
        ),
        span(progress, 0.9, 1.0),
    )
    if not report.passed:
        raise keep(failed_checks(report), [])
    yield tree, report
    shutil.rmtree(tree)


def failed_checks(report: StaticReport) -> str:
    """What is wrong, for people: at most a few findings of each check that did not pass."""
    lines = [
        f"{check.name}: {found}"
        for check in report.checks
        if not check.passed
        for found in check.found[:MAX_TOLD_FINDINGS]
    ]
    return "the image did not pass its checks:\n" + "\n".join(lines)


def _keeper(
    locked: LockedPlan, shop: Workshop, target: Target, tree: Path
) -> Callable[[str, list[str]], BuildFailed]:
    def keep(message: str, output: list[str]) -> BuildFailed:
        name = f"{locked.plan.name}-{locked.plan.version}-{target}"
        kept = shop.cache.keep_failed(tree, name)
        if output:
            kept.with_name(f"{name}.log").write_text("\n".join(output) + "\n")
        hours = FAILED_TREES_SECONDS // 3600
        return BuildFailed(
            f"{message}\nthe tree is kept for {hours} hours on the builder: {kept}",
            hint=f"on the builder: chroot {kept} /bin/sh",
        )

    return keep

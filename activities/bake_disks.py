"""The VM face of a bake on a builder: the base's disk with the artifacts on it, and its boot."""

import shlex
from pathlib import Path

from temporalio import activity

from activities.bake_bench import BakeBench, Bench, run_id
from activities.boots import boot_machine
from fleetwide.bakery.defaults import default_env
from fleetwide.errors import NotFound, SmokeTestFailed
from fleetwide.models.bakes import BakedDisk, DiskRequest, ResolvedBake
from fleetwide.models.baseos import (
    Architecture,
    CommandTest,
    Distribution,
    OSImageSpec,
    Target,
    VmSpec,
)
from fleetwide.models.os_releases import BootReport
from fleetwide.providers.baked_disks import DiskBake, base_disk, keep_disk
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.cloud import Cloud
from fleetwide.providers.disk_trees import DiskTrees
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.lint_payload import check_payload, load_policy
from fleetwide.providers.mmdebstrap import LockedBuild
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.payloads import Payload, PayloadInputs, make_payload
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.qemu_command import Accelerator, BootRequest
from fleetwide.providers.script_limits import script_limits
from fleetwide.providers.volume_bakes import disk_baker
from fleetwide.settings import Settings

BOOT_SECONDS = 600
MAX_TOLD_CHECKS = 8


class BakeDiskActivities:
    """One per builder: its disks, trees and tools are shared by all bakes that run on it."""

    def __init__(self, settings: Settings, registry: RegistryClient, objects: ObjectStore) -> None:
        root = settings.builder_dir.absolute()
        self.settings = settings
        self.objects = objects
        self.cache = BuilderCache(root, objects)
        self.trees = DiskTrees(root / "bases")
        self.benches = BakeBench(root, registry, objects)
        self.cloud = Cloud(settings)

    @activity.defn(name="bakery.build_disk", no_thread_cancel_exception=True)
    def build_disk(self, bake: ResolvedBake) -> BakedDisk:
        """Put the artifacts onto the base's disk, for any builder to go on with.

        Raises:
            ArtifactRejected: an artifact is not what it says, or cannot be installed.
            BuildFailed: the disk is too small.
            PolicyRefused: the image would break a rule of the bakery policy.
        """
        base = base_disk(bake)
        self.cache.trim(self.settings.builder_cache)
        workflow_id = activity.info().workflow_id or ""
        with self.benches.open("disk") as bench:
            raw = self.cache.disk(base, span(bench.progress, 0.0, 0.1))
            tree = self.trees.tree(base, raw, span(bench.progress, 0.1, 0.2))
            payload = self._payload(bake, bench, tree, span(bench.progress, 0.2, 0.5))
            policy, looking = load_policy(self.settings), span(bench.progress, 0.5, 0.52)
            findings = check_payload(bake, payload, tree, 0, policy, looking)
            workdir = bench.folder / "disk"
            workdir.mkdir()
            request = DiskBake(
                bake=bake,
                payload=payload,
                disk=raw,
                tree=tree,
                tools=self._tools(bake, span(bench.progress, 0.52, 0.55)),
                workdir=workdir,
                env=default_env(bake),
            )
            baker = disk_baker(self.settings, self.cloud, workflow_id, run_id())
            baked = baker(request, span(bench.progress, 0.55, 0.9))
            keep_disk(baked, workdir, self.cache, self.objects, span(bench.progress, 0.9, 1.0))
            bench.log.line(f"{baked.changed_bytes // 2**20} MiB differ from the base's disk")
        return baked.model_copy(update={"findings": findings})

    @activity.defn(name="bakery.boot_disk", no_thread_cancel_exception=True)
    def boot_disk(self, request: DiskRequest) -> BootReport:
        """Boot the disk for real; the console is kept, however that ends.

        Raises:
            BuildFailed: it did not come up.
            SmokeTestFailed: it came up, but not as it should.
        """
        spec, disk = request.bake.spec, request.disk.disk
        key = f"bakery/consoles/{request.bake.bake_key}.log"
        with self.benches.open("boot") as bench:
            console = bench.folder / "console.log"
            boot = BootRequest(
                disk=self.cache.disk(disk, span(bench.progress, 0.0, 0.1)),
                boot=disk.boot,
                console=console,
                architecture=disk.architecture,
                commands=_commands(spec.smoke.command),
                timeout_seconds=BOOT_SECONDS,
                accelerator=Accelerator(self.settings.qemu_accelerator),
            )
            try:
                report = boot_machine(boot)
            finally:
                if console.is_file():
                    self.objects.put_file(key, console)
            bench.log.line(f"booted to state {report.state} in {report.seconds:.0f} s")
        if not report.passed:
            raise _not_well(report)
        return report.model_copy(update={"console_key": key})

    def _payload(self, bake: ResolvedBake, bench: Bench, tree: Path, progress: Progress) -> Payload:
        inputs = PayloadInputs(
            bake=bake,
            artifacts=self.benches.artifacts(bake, bench, span(progress, 0.0, 0.3)),
            dependencies=self.benches.dependencies(bake, bench, span(progress, 0.3, 0.5)),
            base=tree,
            target=Target.VM,
            limits=script_limits(self.settings),
        )
        workdir = bench.folder / "payload"
        workdir.mkdir()
        return make_payload(inputs, workdir, span(progress, 0.5, 1.0))

    def _tools(self, bake: ResolvedBake, progress: Progress) -> Path:
        """The disk tools of the base's own lock."""
        base, lock = bake.base, self.benches.lock(bake)
        if lock is None:
            raise NotFound(f"OS release {base.name} {base.version} has no lock")
        self.cache.pool.fetch(lock.packages, progress)
        spec = OSImageSpec(
            name=base.name,
            distribution=Distribution(base.distribution),
            suite=base.suite,
            architecture=Architecture(base.architecture),
            vm=VmSpec(boot=base_disk(bake).boot),
        )
        return self.cache.tools(LockedBuild(spec, lock, base.created_epoch), progress)


def _commands(words: list[str]) -> list[CommandTest]:
    """The artifact's own check, to run in the machine."""
    return [CommandTest(name="smoke", run=shlex.join(words))] if words else []


def _not_well(report: BootReport) -> SmokeTestFailed:
    found = [
        f"{check.name}: {'; '.join(check.found)}" for check in report.checks if not check.passed
    ]
    told = "\n".join(found[:MAX_TOLD_CHECKS])
    return SmokeTestFailed(f"the VM booted to state {report.state}, but not as it should:\n{told}")

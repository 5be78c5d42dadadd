"""OS builds: lock, packages, container base, disk, boot test, documents, snapshot. Builder side.

The builder is root on its own machine, may push to the registry, and may write EBS snapshots.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from temporalio import activity

from activities.boots import boot_machine
from activities.progress import heartbeat
from fleetwide.baseos.amis import AmiSubject, ami_description, ami_tags
from fleetwide.baseos.locks import build_key
from fleetwide.baseos.suites import Mirrors
from fleetwide.errors import BuildFailed, NotFound
from fleetwide.models.baseos import BuildPlan, Target
from fleetwide.models.os_releases import (
    Attachment,
    BootReport,
    BuiltDisk,
    BuiltImage,
    DiskImage,
    LockedPlan,
    RootFilesystem,
)
from fleetwide.models.os_reports import RebuiltFace
from fleetwide.models.os_steps import (
    AmiSnapshot,
    AttachDocuments,
    BootTest,
    PublishImage,
    RebuildFace,
    UploadSnapshot,
)
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.cloud import Cloud
from fleetwide.providers.disk_manifests import keep_manifest, kept_manifest, manifest_key
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.document_archive import Archive
from fleetwide.providers.ebs_snapshots import (
    ParentSnapshot,
    SnapshotRequest,
    drop_upload,
    upload_snapshot,
)
from fleetwide.providers.images import push_base_image
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.os_builds import Workshop, build_container, build_vm
from fleetwide.providers.os_documents import publish_documents
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.progress import meanwhile, span
from fleetwide.providers.qemu_command import Accelerator, BootRequest
from fleetwide.providers.script_limits import script_limits
from fleetwide.providers.signing import load_or_create_key
from fleetwide.providers.toolchain import versions
from fleetwide.settings import Settings

MAX_TOLD_CHECKS = 8


class OSBuildActivities:
    """One per builder: its caches are shared by all builds that run on it."""

    def __init__(self, settings: Settings, registry: RegistryClient, objects: ObjectStore) -> None:
        self.settings = settings
        self.registry = registry
        self.objects = objects
        folder = settings.builder_dir.absolute()
        self.cache = BuilderCache(folder, objects)
        self.mirrors = Mirrors(settings.apt_mirror, settings.apt_security_mirror)
        self.locks = LockResolver(folder / "apt", objects, self.mirrors)
        self.cloud = Cloud(settings)

    @activity.defn(name="baseos.resolve_lock", no_thread_cancel_exception=True)
    def resolve_lock(self, plan: BuildPlan) -> LockedPlan:
        """Find every package that goes in, to the byte."""
        lock, ref = self.locks.resolve(plan.spec, heartbeat)
        return LockedPlan(plan=plan, lock=ref, build_key=build_key(plan, ref.digest, lock.sources))

    @activity.defn(name="baseos.fetch_packages", no_thread_cancel_exception=True)
    def fetch_packages(self, locked: LockedPlan) -> LockedPlan:
        """Put the locked packages into the pool; the newest one's date is the build's clock."""
        packages = self.locks.load(locked.lock.digest).packages
        self.cache.pool.fetch(packages, heartbeat)
        epoch = locked.plan.spec.source_date_epoch
        if epoch is None:
            epoch = self.cache.pool.source_date(packages)
        return locked.model_copy(update={"source_date_epoch": epoch})

    @activity.defn(name="baseos.build_container", no_thread_cancel_exception=True)
    def build_container(self, locked: LockedPlan) -> RootFilesystem:
        """Build the container base and push it as a layer, for any builder to go on with."""
        with self._workshop(locked, "container") as shop:
            built = build_container(locked, shop, span(heartbeat, 0.0, 0.9))
            self.registry.upload_blob(
                locked.plan.repository,
                built.path,
                built.rootfs.layer.digest,
                span(heartbeat, 0.9, 1.0),
            )
        return built.rootfs

    @activity.defn(name="baseos.build_vm", no_thread_cancel_exception=True)
    def build_vm(self, locked: LockedPlan) -> BuiltDisk:
        """Build the VM image and store its disk, for any builder to go on with."""
        with self._workshop(locked, "vm") as shop:
            packed = build_vm(locked, shop, span(heartbeat, 0.0, 0.95))
            disk = packed.built.disk
            if not self.objects.exists(disk.key):
                meanwhile(
                    heartbeat,
                    "storing the disk",
                    lambda: self.objects.put_file(disk.key, packed.path),
                )
        return packed.built

    @activity.defn(name="baseos.rebuild_face", no_thread_cancel_exception=True)
    def rebuild_face(self, request: RebuildFace) -> RebuiltFace:
        """Build one face again from its lock, to see what comes out; nothing of it is published."""
        started = time.monotonic()
        with self._workshop(request.locked, f"again-{request.target}") as shop:
            if request.target is Target.CONTAINER:
                digest = build_container(request.locked, shop, heartbeat).rootfs.layer.digest
            else:
                digest = build_vm(request.locked, shop, heartbeat).built.disk.digest
        return RebuiltFace(
            target=request.target,
            digest=digest,
            seconds=round(time.monotonic() - started, 3),
            builder_versions=versions(),
        )

    @activity.defn(name="baseos.test_boot", no_thread_cancel_exception=True)
    def test_boot(self, request: BootTest) -> BootReport:
        """Boot the disk for real; the console is kept, however that ends.

        Raises:
            BuildFailed: it did not come up, or not as it should.
        """
        plan = request.locked.plan
        disk = self.cache.disk(request.disk, span(heartbeat, 0.0, 0.1))
        key = f"baseos/consoles/{plan.name}/{plan.version}.log"
        with self._workdir("boot") as folder:
            console = folder / "console.log"
            boot = BootRequest(
                disk=disk,
                boot=request.disk.boot,
                console=console,
                architecture=request.disk.architecture,
                commands=plan.spec.tests.commands,
                timeout_seconds=plan.spec.tests.boot_timeout_seconds,
                accelerator=Accelerator(self.settings.qemu_accelerator),
            )
            try:
                report = boot_machine(boot)
            finally:
                if console.is_file():
                    self.objects.put_file(key, console)
        report = report.model_copy(update={"console_key": key})
        if not report.passed:
            raise _boot_failure(plan, report)
        return report

    @activity.defn(name="baseos.publish_image", no_thread_cancel_exception=True)
    def publish_image(self, request: PublishImage) -> BuiltImage:
        """Push config and manifest, and tag them with the version."""
        locked = request.locked
        pushed = push_base_image(self.registry, locked, request.layer)
        return BuiltImage(repository=locked.plan.repository, digest=pushed.digest, size=pushed.size)

    @activity.defn(name="baseos.attach_documents", no_thread_cancel_exception=True)
    def attach_documents(self, request: AttachDocuments) -> list[Attachment]:
        """SBOMs, provenance and signature: into the object store, and to the image as referrers."""
        info = activity.info()
        archive = Archive(
            self.registry, self.objects, load_or_create_key(self.settings.signing_key)
        )
        lock = self.locks.load(request.locked.lock.digest)
        invocation = f"{info.workflow_id}/{info.workflow_run_id}"
        return publish_documents(request, lock, invocation, archive, heartbeat)

    @activity.defn(name="baseos.upload_snapshot", no_thread_cancel_exception=True)
    def upload_snapshot(self, request: UploadSnapshot) -> AmiSnapshot:
        """Send the disk to EBS; a try after a crash goes on where the one before stopped."""
        locked, spec = request.locked, request.locked.plan.spec
        assert spec.ami is not None
        disk = self.cache.disk(request.disk, span(heartbeat, 0.0, 0.1))
        subject = AmiSubject(
            plan=locked.plan,
            build_key=locked.build_key,
            lock_digest=locked.lock.digest,
            epoch=locked.source_date_epoch,
            image_digest=request.image_digest,
        )
        whole = SnapshotRequest(
            disk=disk,
            journal=self._journal(locked),
            region=spec.ami.regions[0],
            description=ami_description(locked.plan),
            tags=ami_tags(subject),
        )
        child = replace(whole, parent=self._parent(request))
        try:
            uploaded = upload_snapshot(self.cloud, child, span(heartbeat, 0.1, 1.0))
        except NotFound:
            # Somebody deleted the parent's snapshot: send everything.
            uploaded = upload_snapshot(self.cloud, whole, span(heartbeat, 0.1, 1.0))
        keep_manifest(self.objects, request.disk.digest, uploaded.manifest)
        return AmiSnapshot(
            region=spec.ami.regions[0],
            snapshot_id=uploaded.snapshot_id,
            sent_blocks=uploaded.sent_blocks,
        )

    @activity.defn(name="baseos.drop_upload", no_thread_cancel_exception=True)
    def drop_upload(self, locked: LockedPlan) -> None:
        """Forget an upload that this builder began; the snapshot goes if it never got complete."""
        assert locked.plan.spec.ami is not None
        drop_upload(self.cloud, locked.plan.spec.ami.regions[0], self._journal(locked))

    @activity.defn(name="baseos.forget_disk")
    def forget_disk(self, disk: DiskImage) -> None:
        """Remove a retired release's disk from the object store; its lock and packages stay."""
        for key in (disk.key, manifest_key(disk.digest)):
            self.objects.delete(key)

    def _parent(self, request: UploadSnapshot) -> ParentSnapshot | None:
        """The parent's snapshot, where it is known what lies in it."""
        if request.parent is None or request.parent_disk is None:
            return None
        manifest = kept_manifest(self.objects, request.parent_disk)
        if manifest is None or manifest.disk_bytes > request.disk.size:
            return None
        return ParentSnapshot(request.parent.snapshot_id, manifest)

    def _journal(self, locked: LockedPlan) -> Path:
        """Each version has its own: a forced build of the same bytes has its own snapshot."""
        return self.cache.journal(f"{locked.plan.name}-{locked.plan.version}")

    @contextmanager
    def _workshop(self, locked: LockedPlan, part: str) -> Iterator[Workshop]:
        self.cache.trim(self.settings.builder_cache)
        lock = self.locks.load(locked.lock.digest)
        self.cache.pool.fetch(lock.packages, heartbeat)
        with self._workdir(part) as folder:
            yield Workshop(folder, self.cache, lock, script_limits(self.settings))

    @contextmanager
    def _workdir(self, part: str) -> Iterator[Path]:
        """A folder of this run's own, empty at first and gone afterwards."""
        folder = self.cache.folder / f"os-{activity.info().workflow_run_id}-{part}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _boot_failure(plan: BuildPlan, report: BootReport) -> BuildFailed:
    found = [
        f"{check.name}: {'; '.join(check.found)}" for check in report.checks if not check.passed
    ]
    told = "\n".join(found[:MAX_TOLD_CHECKS])
    return BuildFailed(
        f"the image booted to state {report.state} but did not pass its boot test:\n{told}",
        hint=f"fleetwide os console {plan.name} {plan.version}",
    )

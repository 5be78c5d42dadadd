"""Stand-ins for the builder: every step in no time, its faults and hangs settable."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import CancelledError

from fleetwide.baseos.locks import build_key
from fleetwide.models.base import Layer
from fleetwide.models.baseos import BuildPlan, Target
from fleetwide.models.os_locks import LockRef
from fleetwide.models.os_releases import (
    Attachment,
    BootReport,
    BuiltDisk,
    BuiltImage,
    CheckResult,
    DiskImage,
    LockedPlan,
    OSRelease,
    RootFilesystem,
    StaticReport,
)
from fleetwide.models.os_reports import Fix, FixesReport, PackageDiff, PlanPreview, RebuiltFace
from fleetwide.models.os_steps import (
    AmiSnapshot,
    AttachDocuments,
    BootTest,
    PreviewRequest,
    PublishImage,
    RebuildFace,
    UploadSnapshot,
)
from fleetwide.registry.digests import digest_of

EPOCH = 1_795_305_600
PACKAGES = {"base-files": "12", "dash": "0.5"}
REPORT = StaticReport(checks=[CheckResult(name="packages", passed=True)], seconds=0.1)


@dataclass
class Script:
    """What its steps did, and what they shall do instead of ending well."""

    fail_at: dict[str, Exception] = field(default_factory=dict)
    """Step to what it raises."""
    stuck_at: set[str] = field(default_factory=set)
    """Steps that do not end until they are cancelled or taken out of here."""
    deaf_at: set[str] = field(default_factory=set)
    """Steps that do not hear of a cancel, and end well once they are taken out of here."""
    steps: list[str] = field(default_factory=list)

    async def act(self, step: str) -> None:
        self.steps.append(step)
        if step in self.fail_at:
            raise self.fail_at[step]
        while step in self.deaf_at | self.stuck_at:
            if step not in self.deaf_at:
                activity.heartbeat()
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                raise CancelledError("stopped") from None

    def activities(self) -> list[Callable[..., Any]]:
        """Every method that is an activity."""
        methods = [getattr(self, name) for name in dir(type(self)) if not name.startswith("_")]
        return [one for one in methods if hasattr(one, "__temporal_activity_definition")]


@dataclass
class ScriptedBuilder(Script):
    """Builds nothing. ``lock`` and ``security`` say what the archives have today."""

    lock: str | None = None
    """The same word is the same lock; None means that every version has one of its own."""
    security: str = "no fix"
    """The same for the packages of security suites."""
    forgotten: list[str] = field(default_factory=list)
    """Keys of disks that were removed."""
    uploads: list[UploadSnapshot] = field(default_factory=list)
    documents: list[AttachDocuments] = field(default_factory=list)
    drifted: set[Target] = field(default_factory=set)
    """Faces that come out with other bytes when they are built again."""

    @property
    def builds(self) -> int:
        return sum(step in ("build_container", "build_vm") for step in self.steps)

    @activity.defn(name="baseos.resolve_lock")
    async def resolve_lock(self, plan: BuildPlan) -> LockedPlan:
        await self.act("resolve_lock")
        lock = LockRef(
            digest=_digest(self.lock or plan.version),
            package_count=len(PACKAGES),
            size=1000,
            security_digest=_digest(self.security),
            resolved_at=datetime.now(UTC),
        )
        return LockedPlan(plan=plan, lock=lock, build_key=build_key(plan, lock.digest, []))

    @activity.defn(name="baseos.fetch_packages")
    async def fetch_packages(self, locked: LockedPlan) -> LockedPlan:
        await self.act("fetch_packages")
        return locked.model_copy(update={"source_date_epoch": EPOCH})

    @activity.defn(name="baseos.build_container")
    async def build_container(self, locked: LockedPlan) -> RootFilesystem:
        await self.act("build_container")
        return RootFilesystem(
            layer=layer_of(locked.build_key),
            uncompressed_size=2048,
            packages=PACKAGES,
            source_date_epoch=locked.source_date_epoch,
            report=REPORT,
            build_seconds=0.1,
        )

    @activity.defn(name="baseos.build_vm")
    async def build_vm(self, locked: LockedPlan) -> BuiltDisk:
        await self.act("build_vm")
        spec, digest = locked.plan.spec, _digest(f"disk {locked.build_key}")
        disk = DiskImage(
            digest=digest,
            size=int(spec.vm.size),
            used=1024,
            boot=spec.vm.boot,
            architecture=spec.architecture,
            key=f"baseos/disks/{digest}",
        )
        return BuiltDisk(disk=disk, packages=PACKAGES, report=REPORT, build_seconds=0.1)

    @activity.defn(name="baseos.rebuild_face")
    async def rebuild_face(self, request: RebuildFace) -> RebuiltFace:
        await self.act("rebuild_face")
        if request.target is Target.CONTAINER:
            digest = (await self.build_container(request.locked)).layer.digest
        else:
            digest = (await self.build_vm(request.locked)).disk.digest
        if request.target in self.drifted:
            digest = _digest("other bytes")
        return RebuiltFace(target=request.target, digest=digest, seconds=1, builder_versions={})

    @activity.defn(name="baseos.test_boot")
    async def test_boot(self, request: BootTest) -> BootReport:
        await self.act("test_boot")
        return BootReport(
            passed=True,
            state="running",
            accelerator="tcg",
            boot=request.disk.boot,
            seconds=40.0,
            console_key="baseos/consoles/x.log",
        )

    @activity.defn(name="baseos.publish_image")
    async def publish_image(self, request: PublishImage) -> BuiltImage:
        await self.act("publish_image")
        plan = request.locked.plan
        digest = _digest(f"{plan.name} {plan.version} {request.layer.digest}")
        return BuiltImage(repository=plan.repository, digest=digest, size=10)

    @activity.defn(name="baseos.attach_documents")
    async def attach_documents(self, request: AttachDocuments) -> list[Attachment]:
        await self.act("attach_documents")
        self.documents.append(request)
        digest = _digest("sbom")
        return [Attachment(artifact_type="application/spdx+json", digest=digest, key="x")]

    @activity.defn(name="baseos.upload_snapshot")
    async def upload_snapshot(self, request: UploadSnapshot) -> AmiSnapshot:
        self.uploads.append(request)
        await self.act("upload_snapshot")
        spec = request.locked.plan.spec.ami
        assert spec is not None
        snapshot_id = f"snap-{request.locked.plan.version}"
        return AmiSnapshot(region=spec.regions[0], snapshot_id=snapshot_id, sent_blocks=1)

    @activity.defn(name="baseos.drop_upload")
    async def drop_upload(self, _locked: LockedPlan) -> None:
        await self.act("drop_upload")

    @activity.defn(name="baseos.forget_disk")
    async def forget_disk(self, disk: DiskImage) -> None:
        await self.act("forget_disk")
        self.forgotten.append(disk.key)


@dataclass
class ScriptedArchives(Script):
    """Answers questions about what the archives of ``builder`` have today."""

    builder: ScriptedBuilder = field(default_factory=ScriptedBuilder)
    fixes: list[Fix] = field(default_factory=list)

    @activity.defn(name="baseos.preview_build")
    async def preview_build(self, request: PreviewRequest) -> PlanPreview:
        await self.act("preview_build")
        locked = await self.builder.resolve_lock(request.plan)
        diff = PackageDiff(added=[], removed=[], upgraded=[], downgraded=[], replaced=[])
        return PlanPreview(
            spec=request.plan.spec,
            sources=[],
            lock=locked.lock,
            build_key=locked.build_key,
            package_count=locked.lock.package_count,
            against=request.against.version if request.against else None,
            diff=diff,
            summary=diff.summary,
        )

    @activity.defn(name="baseos.find_fixes")
    async def find_fixes(self, release: OSRelease) -> FixesReport:
        await self.act("find_fixes")
        return FixesReport(
            name=release.name,
            version=release.version,
            compared_with=["bookworm-security"],
            checked_at=datetime.now(UTC),
            fixes=self.fixes,
        )


def _digest(seed: str) -> str:
    return digest_of(seed.encode())


def layer_of(seed: str) -> Layer:
    """A layer that lies nowhere."""
    return Layer(digest=_digest(seed), diff_id=_digest(seed), size=10)

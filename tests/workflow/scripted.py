"""Stand-ins for the builder and the cloud: every step in no time, its faults and hangs settable."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import CancelledError

from fleetwide.baseos.locks import build_key
from fleetwide.models.bakery import BuiltBake, ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.models.baseos import AmiSpec, BuildPlan
from fleetwide.models.os_locks import LockRef
from fleetwide.models.os_releases import (
    AmiImage,
    Attachment,
    BootReport,
    BuiltDisk,
    BuiltImage,
    CheckResult,
    DiskImage,
    LockedPlan,
    RootFilesystem,
    StaticReport,
)
from fleetwide.models.os_steps import (
    AmiSnapshot,
    AttachDocuments,
    BootTest,
    CopyAmi,
    DropAmis,
    PublishImage,
    RegisterAmi,
    ShareAmi,
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

    @property
    def builds(self) -> int:
        return sum(step in ("build_container", "build_vm", "build_image") for step in self.steps)

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
            layer=_layer(locked.build_key),
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

    @activity.defn(name="bakery.build_image")
    async def build_image(self, bake: ResolvedBake) -> BuiltBake:
        await self.act("build_image")
        layer = _layer(bake.bake_key)
        return BuiltBake(digest=_digest(bake.bake_key), app_layer=layer, size=10, build_seconds=0.1)


@dataclass
class ScriptedCloud(Script):
    """An EC2 that keeps AMIs by region and version, and who made them."""

    amis: dict[str, AmiImage] = field(default_factory=dict)
    """Image id to AMI."""
    owners: dict[str, str] = field(default_factory=dict)
    """Image id to the workflow that it carries as a tag."""
    shares: dict[str, AmiSpec] = field(default_factory=dict)
    invisible: set[str] = field(default_factory=set)
    """Regions where no AMI can be launched now."""
    instances: int = 0
    dropped: list[DropAmis] = field(default_factory=list)

    @activity.defn(name="baseos.register_ami")
    async def register_ami(self, request: RegisterAmi) -> AmiImage:
        plan, snapshot = request.locked.plan, request.snapshot
        name = f"{plan.name}-{plan.version}"
        made = self._make(snapshot.region, name, snapshot.snapshot_id, plan.workflow_id)
        await self.act("register_ami")
        return made

    @activity.defn(name="baseos.copy_ami")
    async def copy_ami(self, request: CopyAmi) -> AmiImage:
        source = request.source
        made = self._make(
            request.region, source.name, f"copy-{source.snapshot_id}", self.owners[source.image_id]
        )
        await self.act("copy_ami")
        return made

    @activity.defn(name="baseos.share_ami")
    async def share_ami(self, request: ShareAmi) -> None:
        await self.act("share_ami")
        self.shares[request.ami.image_id] = request.spec

    @activity.defn(name="baseos.find_invisible")
    async def find_invisible(self, amis: list[AmiImage]) -> list[str]:
        await self.act("find_invisible")
        return [ami.region for ami in amis if ami.region in self.invisible]

    @activity.defn(name="baseos.count_instances")
    async def count_instances(self, amis: list[AmiImage]) -> int:
        await self.act("count_instances")
        return self.instances if amis else 0

    @activity.defn(name="baseos.drop_amis")
    async def drop_amis(self, request: DropAmis) -> None:
        await self.act("drop_amis")
        self.dropped.append(request)
        known = {ami.image_id for ami in request.amis}
        for image_id, owner in list(self.owners.items()):
            swept = owner == request.workflow_id and self.amis[image_id].region in request.regions
            if swept or image_id in known:
                del self.amis[image_id], self.owners[image_id]

    def _make(self, region: str, name: str, snapshot_id: str, workflow_id: str) -> AmiImage:
        made = AmiImage(
            region=region, image_id=f"ami-{region}-{name}", snapshot_id=snapshot_id, name=name
        )
        self.amis[made.image_id], self.owners[made.image_id] = made, workflow_id
        return made


def _digest(seed: str) -> str:
    return digest_of(seed.encode())


def _layer(seed: str) -> Layer:
    return Layer(digest=_digest(seed), diff_id=_digest(seed), size=10)

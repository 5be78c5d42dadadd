"""Stand-ins for the builder's part of bakes: every step in no time, faults and hangs settable."""

from dataclasses import dataclass, field

from temporalio import activity

from fleetwide.bakery.images import bake_metadata
from fleetwide.models.bake_amis import SweepLayers, UploadBakedDisk
from fleetwide.models.bakes import (
    BakedDisk,
    BuiltLayer,
    Dependency,
    DiskRequest,
    LayerRequest,
    PublishBake,
    PublishedBake,
    PushedBake,
    ResolvedBake,
    SmokeReport,
    WithdrawBake,
)
from fleetwide.models.baseos import Architecture, BootMode
from fleetwide.models.os_releases import Attachment, BootReport, DiskImage
from fleetwide.models.os_steps import AmiSnapshot
from fleetwide.registry.digests import digest_of
from tests.workflow.scripted import Script, layer_of


@dataclass
class ScriptedBakes(Script):
    """Bakes nothing; remembers what it was asked."""

    needs: list[Dependency] = field(default_factory=list)
    """What every artifact needs."""
    rebaseable: bool = True
    pushed: list[ResolvedBake] = field(default_factory=list)
    withdrawn: list[WithdrawBake] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """The runs whose layers a sweep had to leave."""

    @activity.defn(name="bakery.resolve_dependencies")
    async def resolve_dependencies(self, _bake: ResolvedBake) -> list[Dependency]:
        await self.act("resolve_dependencies")
        return self.needs

    @activity.defn(name="bakery.build_layer")
    async def build_layer(self, bake: ResolvedBake) -> BuiltLayer:
        await self.act("build_layer")
        return BuiltLayer(
            layer=layer_of(bake.content_key),
            uncompressed_size=100,
            entries=3,
            rebaseable=self.rebaseable,
            build_seconds=0.1,
        )

    @activity.defn(name="bakery.smoke_test")
    async def smoke_test(self, _request: LayerRequest) -> SmokeReport:
        await self.act("smoke_test")
        return SmokeReport(passed=True, how="it ran", seconds=0.1)

    @activity.defn(name="bakery.publish")
    async def publish(self, request: PublishBake) -> PublishedBake:
        bake = request.bake
        if request.built is not None:
            self.pushed.append(bake)
        await self.act("publish")
        attachments = [
            Attachment(
                artifact_type="application/spdx+json",
                digest=digest_of(b"sbom"),
                key=f"bakery/documents/{bake.bake_key}/{one}.spdx.json",
            )
            for one in bake.spec.targets
        ]
        pushed = _pushed(bake) if request.built is not None else None
        return PublishedBake(pushed=pushed, attachments=attachments)

    @activity.defn(name="bakery.withdraw")
    async def withdraw(self, request: WithdrawBake) -> None:
        self.withdrawn.append(request)
        await self.act("withdraw")

    @activity.defn(name="bakery.sweep_layers")
    async def sweep_layers(self, request: SweepLayers) -> list[str]:
        await self.act("sweep_layers")
        self.kept = list(request.keep)
        return ["bakery/layers/lost.tar.gz"]

    @activity.defn(name="bakery.build_disk")
    async def build_disk(self, bake: ResolvedBake) -> BakedDisk:
        await self.act("build_disk")
        digest = digest_of(f"disk {bake.bake_key}".encode())
        disk = DiskImage(
            digest=digest,
            size=2**31,
            used=1024,
            boot=BootMode.BIOS,
            architecture=Architecture.AMD64,
            key=f"bakery/disks/{digest}",
        )
        return BakedDisk(disk=disk, changed_bytes=2**20, build_seconds=0.1)

    @activity.defn(name="bakery.boot_disk")
    async def boot_disk(self, request: DiskRequest) -> BootReport:
        await self.act("boot_disk")
        return BootReport(
            passed=True,
            state="running",
            accelerator="tcg",
            boot=request.disk.disk.boot,
            seconds=40.0,
            console_key="bakery/consoles/x.log",
        )

    @activity.defn(name="bakery.upload_snapshot")
    async def upload_snapshot(self, request: UploadBakedDisk) -> AmiSnapshot:
        await self.act("upload_baked_disk")
        ami = request.bake.spec.ami
        assert ami is not None
        return AmiSnapshot(region=ami.regions[0], snapshot_id="snap-bake", sent_blocks=2)

    @activity.defn(name="bakery.drop_upload")
    async def drop_upload(self, _bake: ResolvedBake) -> None:
        await self.act("drop_baked_upload")


def _pushed(bake: ResolvedBake) -> PushedBake:
    metadata = bake_metadata(bake, digest_of(b"sbom"))
    told = f"{bake.bake_key} {sorted(metadata.items())}"
    return PushedBake(digest=digest_of(told.encode()), size=10, metadata=metadata)

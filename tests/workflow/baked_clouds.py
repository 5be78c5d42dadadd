"""A stand-in for EC2 as bakes use it: every step in no time, its faults and hangs settable."""

from dataclasses import dataclass, field

from temporalio import activity

from activities.bake_bench import run_id
from fleetwide.bakery.vm_tags import vm_name
from fleetwide.errors import InvalidInput
from fleetwide.models.bake_amis import (
    DropBakedAmis,
    FindBakedAmi,
    RegisterBakedAmi,
    ReplacedAmi,
    RetagAmis,
    SweepBakes,
)
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.os_steps import CopyAmi, ShareAmi
from tests.workflow.scripted import Script


@dataclass
class BakedCloud(Script):
    """An EC2 that keeps the AMIs of bakes by region."""

    amis: dict[str, AmiImage] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    sweeps: list[SweepBakes] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    """Regions that take no copy."""
    replaced: list[ReplacedAmi] = field(default_factory=list)
    half: set[str] = field(default_factory=set)
    """Regions with a copy that is not complete."""
    granted: dict[str, set[str]] = field(default_factory=dict)
    """Region to the accounts that may launch the AMI there."""

    @activity.defn(name="bakery.register_ami")
    async def register_ami(self, request: RegisterBakedAmi) -> AmiImage:
        region, name = request.snapshot.region, vm_name(request.bake, run_id())
        image_id = f"ami-{name[-12:]}-{region}"
        made = AmiImage(region=region, image_id=image_id, snapshot_id="snap-1", name=name)
        self.amis[region] = made
        await self.act("register_baked_ami")
        return made

    @activity.defn(name="bakery.copy_ami")
    async def copy_ami(self, request: CopyAmi) -> AmiImage:
        region = request.region
        self.half.add(region)
        await self.act("copy_baked_ami")
        if region in self.away:
            raise InvalidInput(f"{region} takes no copies")
        image_id = f"ami-{request.source.name[-12:]}-{region}"
        made = request.source.model_copy(update={"region": region, "image_id": image_id})
        self.amis[region] = made
        self.half.discard(region)
        return made

    @activity.defn(name="bakery.drop_copy")
    async def drop_copy(self, request: CopyAmi) -> None:
        await self.act("drop_baked_copy")
        self.half.discard(request.region)

    @activity.defn(name="bakery.share_ami")
    async def share_ami(self, request: ShareAmi) -> None:
        await self.act("share_baked_ami")
        self.shared.add(request.ami.region)
        self.granted[request.ami.region] = {*request.spec.accounts, *request.spec.organizations}

    @activity.defn(name="bakery.find_ami")
    async def find_ami(self, query: FindBakedAmi) -> AmiImage | None:
        return self.amis.get(query.region)

    @activity.defn(name="bakery.retag_amis")
    async def retag_amis(self, request: RetagAmis) -> None:
        await self.act("retag_amis")
        self.tags = dict(request.tags)

    @activity.defn(name="bakery.retire_replaced")
    async def retire_replaced(self, replaced: list[ReplacedAmi]) -> None:
        await self.act("retire_replaced")
        self.replaced += replaced

    @activity.defn(name="bakery.drop_amis")
    async def drop_amis(self, request: DropBakedAmis) -> None:
        await self.act("drop_baked_amis")
        for region, ami in list(self.amis.items()):
            if ami.image_id not in request.keep:
                del self.amis[region]

    @activity.defn(name="bakery.sweep_cloud")
    async def sweep_cloud(self, request: SweepBakes) -> list[str]:
        self.sweeps.append(request)
        return ["snapshot snap-lost in eu-west-1"]

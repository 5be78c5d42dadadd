"""A stand-in for EC2: every step in no time, its faults and hangs settable."""

from dataclasses import dataclass, field

from temporalio import activity

from fleetwide.models.baseos import AmiSpec
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.os_steps import CopyAmi, DropAmis, LineQuery, RegisterAmi, ShareAmi
from tests.workflow.scripted import Script


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
    leftovers: list[str] = field(default_factory=list)

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

    @activity.defn(name="baseos.sweep_cloud")
    async def sweep_cloud(self, _line: LineQuery) -> list[str]:
        await self.act("sweep_cloud")
        swept, self.leftovers = self.leftovers, []
        return swept

    def _make(self, region: str, name: str, snapshot_id: str, workflow_id: str) -> AmiImage:
        made = AmiImage(
            region=region, image_id=f"ami-{region}-{name}", snapshot_id=snapshot_id, name=name
        )
        self.amis[made.image_id], self.owners[made.image_id] = made, workflow_id
        return made

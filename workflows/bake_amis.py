"""``BakeDistribution``: a baked AMI into one more region. And the steps that make the first AMI."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.bake_amis import BakedAmiActivities, BakedDiskUploads
    from activities.bake_disks import BakeDiskActivities
    from activities.bakery import ImageActivities
    from fleetwide.bakery.vm_tags import VmFacts, base_ami, vm_tags
    from fleetwide.models.bake_amis import (
        DistributedImage,
        DistributionSpec,
        DropBakedAmis,
        RecordRegion,
        RegisterBakedAmi,
        ReplacedAmi,
        RetagAmis,
        UploadBakedDisk,
    )
    from fleetwide.models.bakes import (
        BakedDisk,
        BakedImage,
        DiskRequest,
        RegionState,
        RegionStatus,
        ResolvedBake,
    )
    from fleetwide.models.os_releases import AmiImage, Attachment, BootReport
    from fleetwide.models.os_steps import AmiSnapshot, CopyAmi, ShareAmi
    from fleetwide.temporal import search_attributes as attributes

from workflows.bake_steps import on_books
from workflows.baseos_steps import in_cloud, on_builder, together
from workflows.policies import COMPENSATION

VM_SBOM = "/vm.spdx.json"
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)


@workflow.defn(name="BakeDistribution")
class BakeDistribution:
    """Copy, share, book. It fails alone: the image and the other regions stay as they are."""

    @workflow.run
    async def run(self, spec: DistributionSpec) -> AmiImage:
        found: DistributedImage = await on_books(
            ImageActivities.find_distributed, spec, f"look up the bake {spec.bake_key[:12]}"
        )
        self._label(found.image)
        await self._book(spec, RegionState.COPYING)
        ami: AmiImage | None = None
        try:
            ami = await self._copy(spec, found)
            await share(ami, found)
        except (Exception, asyncio.CancelledError) as error:
            if ami is None:
                await self._drop_copy(spec, found)
            why = "cancelled" if is_cancelled_exception(error) else _why(error)
            await self._book(spec, RegionState.FAILED, ami, message=why)
            raise
        granted = [*found.ami.accounts, *found.ami.organizations]
        await self._book(spec, RegionState.AVAILABLE, ami, shared_with=granted)
        return ami

    async def _copy(self, spec: DistributionSpec, found: DistributedImage) -> AmiImage:
        region, source = spec.region, found.image.amis[0]
        if region == source.region:
            return source
        copied: AmiImage = await in_cloud(
            BakedAmiActivities.copy_ami,
            CopyAmi(source=source, region=region),
            f"copy the AMI to {region}",
        )
        return copied

    async def _drop_copy(self, spec: DistributionSpec, found: DistributedImage) -> None:
        """Nothing half stays; a copy that is in the books was whole before."""
        region, source = spec.region, found.image.amis[0]
        if any(one.region == region and one.name == source.name for one in found.image.amis):
            return
        await in_cloud(
            BakedAmiActivities.drop_copy,
            CopyAmi(source=source, region=region),
            f"take away the copy in {region}",
            COMPENSATION,
        )

    async def _book(
        self,
        spec: DistributionSpec,
        state: RegionState,
        ami: AmiImage | None = None,
        message: str = "",
        shared_with: Sequence[str] = (),
    ) -> None:
        image_id = ami.image_id if ami else ""
        status = RegionStatus(
            region=spec.region,
            state=state,
            image_id=image_id,
            message=message,
            shared_with=list(shared_with),
        )
        workflow.set_current_details(f"**{spec.region}**: {state} {image_id} {message}".rstrip())
        await on_books(
            ImageActivities.record_region,
            RecordRegion(bake_key=spec.bake_key, status=status, ami=ami),
            f"book {spec.region} as {state}",
        )

    def _label(self, image: BakedImage) -> None:
        workflow.upsert_search_attributes(
            attributes.updates({attributes.PRODUCT: "bakery", attributes.APP: image.name})
        )


async def share(ami: AmiImage, found: DistributedImage) -> None:
    """Set who may launch it."""
    await in_cloud(
        BakedAmiActivities.share_ami,
        ShareAmi(ami=ami, spec=found.ami, released_at=workflow.now()),
        f"set who may launch it in {ami.region}",
    )


async def build_disk(bake: ResolvedBake) -> BakedDisk:
    baked: BakedDisk = await on_builder(
        BakeDiskActivities.build_disk,
        bake,
        f"put the artifacts onto the disk of {bake.base.name} {bake.base.version}",
    )
    return baked


async def boot(bake: ResolvedBake, disk: BakedDisk) -> BakedDisk:
    """The disk with what it said when it was booted."""
    report: BootReport = await on_builder(
        BakeDiskActivities.boot_disk, DiskRequest(bake=bake, disk=disk), "boot the VM image"
    )
    return disk.model_copy(update={"boot": report})


async def make_ami(bake: ResolvedBake, disk: BakedDisk, documents: list[Attachment]) -> AmiImage:
    """Snapshot and AMI in the first region; nobody else may launch it yet."""
    sbom = _sbom(documents)
    home = _home(bake)
    snapshot: AmiSnapshot = await on_builder(
        BakedDiskUploads.upload_snapshot,
        UploadBakedDisk(bake=bake, disk=disk, sbom=sbom),
        f"send what changed to EBS in {home}",
    )
    ami: AmiImage = await in_cloud(
        BakedAmiActivities.register_ami,
        RegisterBakedAmi(bake=bake, disk=disk, snapshot=snapshot, sbom=sbom),
        f"register the AMI in {home}",
    )
    return ami


async def distribute(bake: ResolvedBake, regions: Sequence[str]) -> None:
    """A child for each region, with its own retries; one that fails is told in the books."""
    await together([_distribute(bake, region) for region in regions])


async def _distribute(bake: ResolvedBake, region: str) -> None:
    """One at a time for each region: one at work may not know yet what this bake asks for."""
    wait = FIRST_WAIT
    while True:
        try:
            return await _distribute_once(bake, region)
        except WorkflowAlreadyStartedError:
            await workflow.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)


async def _distribute_once(bake: ResolvedBake, region: str) -> None:
    spec = DistributionSpec(bake_key=bake.bake_key, region=region)
    try:
        await workflow.execute_child_workflow(
            BakeDistribution.run,
            spec,
            id=spec.workflow_id,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"{bake.spec.name} {bake.spec.version} in {region}",
        )
    except ChildWorkflowError as error:
        if is_cancelled_exception(error):
            raise
        workflow.logger.warning("distribution to %s failed", region)


async def retag(bake: ResolvedBake, image: BakedImage) -> None:
    """Other metadata for the same bytes."""
    home = image.amis[0].region
    facts = VmFacts(workflow.info().workflow_id, base_ami(bake, home), _sbom(image.attachments))
    await in_cloud(
        BakedAmiActivities.retag_amis,
        # A forced bake called its AMI after its run.
        RetagAmis(amis=image.amis, tags={**vm_tags(bake, facts), "Name": image.amis[0].name}),
        "tag the AMIs anew",
    )


async def retire_replaced(bake: ResolvedBake, image: BakedImage) -> None:
    """Hide the AMIs that those of a forced bake took the place of, in regions that have one."""
    new = {ami.region: ami.image_id for ami in image.amis}
    replaced = [
        ReplacedAmi(ami=ami, replaced_by=new[ami.region])
        for ami in (bake.cached.amis if bake.cached else [])
        if new.get(ami.region, ami.image_id) != ami.image_id
    ]
    if replaced:
        await in_cloud(
            BakedAmiActivities.retire_replaced, replaced, f"hide {len(replaced)} replaced AMIs"
        )


async def distributed(bake: ResolvedBake) -> BakedImage:
    """The image as the distributions left it."""
    found: DistributedImage = await on_books(
        ImageActivities.find_distributed,
        DistributionSpec(bake_key=bake.bake_key, region=_home(bake)),
        "look how the distribution ended",
    )
    return found.image


async def drop_amis(bake: ResolvedBake) -> None:
    """Take away what the bake has in the cloud; what an earlier bake of the key made stays."""
    if bake.spec.ami is None:
        return
    keep = [ami.image_id for ami in bake.cached.amis] if bake.cached else []
    request = DropBakedAmis(regions=bake.spec.ami.regions, keep=keep)
    # First the AMIs: EC2 does not delete a snapshot that one of them uses.
    await in_cloud(
        BakedAmiActivities.drop_amis, request, "take the AMIs and snapshots away", COMPENSATION
    )
    await on_builder(BakedDiskUploads.drop_upload, bake, "forget a half-done upload")


async def shared(bake: ResolvedBake) -> BakedImage:
    """The image of a forced bake that was cut off; all may launch its AMIs who should.

    In their regions they take the place of AMIs that were shared. One of an earlier bake, which a
    region has for want of a copy, is left as it is.
    """
    image = await distributed(bake)
    done = {one.region for one in image.regions if one.state is RegionState.AVAILABLE}
    own = [ami.region for ami in image.amis if ami.name == image.amis[0].name]
    unshared = [region for region in own if region not in done]
    if not unshared:
        return image
    await distribute(bake, unshared)
    return await distributed(bake)


def _sbom(documents: list[Attachment]) -> str | None:
    return next((one.digest for one in documents if one.key.endswith(VM_SBOM)), None)


def _home(bake: ResolvedBake) -> str:
    """The region that gets the snapshot; the others get copies."""
    assert bake.spec.ami is not None
    return bake.spec.ami.regions[0]


def _why(error: Any) -> str:
    cause = error.cause if isinstance(error, ActivityError) else error
    return cause.message if isinstance(cause, ApplicationError) else str(cause)

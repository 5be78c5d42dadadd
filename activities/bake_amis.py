"""AMIs of bakes: upload, register, copy, share, look for, tag anew, take away.

Only the upload is the builder's; all else needs nothing but EC2 rights.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio import activity

from activities.bake_bench import run_id
from activities.progress import heartbeat
from fleetwide.bakery.vm_tags import (
    BAKE_KEY_TAG,
    VmFacts,
    base_ami,
    vm_description,
    vm_name,
    vm_tags,
)
from fleetwide.errors import NotFound
from fleetwide.models.bake_amis import (
    DropBakedAmis,
    FindBakedAmi,
    RegisterBakedAmi,
    ReplacedAmi,
    RetagAmis,
    SweepBakes,
    UploadBakedDisk,
)
from fleetwide.models.bakes import ResolvedBake
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.os_steps import AmiSnapshot, CopyAmi, ShareAmi
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.cloud import Cloud
from fleetwide.providers.disk_manifests import keep_manifest, kept_manifest
from fleetwide.providers.ebs_snapshots import (
    ParentSnapshot,
    SnapshotRequest,
    delete_snapshot,
    drop_upload,
    upload_snapshot,
)
from fleetwide.providers.ec2_images import (
    ImageRequest,
    copy_image,
    find_tagged,
    register_image,
    retag_image,
    share_image,
)
from fleetwide.providers.ec2_retirement import (
    deregister_image,
    drop_copy,
    find_leftovers,
    find_replaced,
    mark_replaced,
    remove_leftovers,
)
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.sparse_disks import open_disk
from fleetwide.settings import Settings


def workflow_id() -> str:
    """The workflow that the activity belongs to: what it makes is tagged with it."""
    found = activity.info().workflow_id
    assert found is not None
    return found


class BakedDiskUploads:
    """Builder side: may write EBS snapshots."""

    def __init__(self, settings: Settings, objects: ObjectStore) -> None:
        self.objects = objects
        self.cache = BuilderCache(settings.builder_dir.absolute(), objects)
        self.cloud = Cloud(settings)

    @activity.defn(name="bakery.upload_snapshot", no_thread_cancel_exception=True)
    def upload_snapshot(self, request: UploadBakedDisk) -> AmiSnapshot:
        """Send what differs from the base; a try after a crash goes on where the one before was."""
        if request.disk.snapshot is not None:
            return request.disk.snapshot
        bake, region = request.bake, _region(request.bake)
        parent = base_ami(bake, region)
        whole = SnapshotRequest(
            disk=self.cache.disk(request.disk.disk, span(heartbeat, 0.0, 0.1)),
            journal=self._journal(bake),
            region=region,
            description=vm_description(bake, parent),
            tags=vm_tags(bake, VmFacts(workflow_id(), parent, request.sbom, run_id())),
        )
        child = replace(whole, parent=self._parent(bake, span(heartbeat, 0.1, 0.2)))
        try:
            uploaded = upload_snapshot(self.cloud, child, span(heartbeat, 0.2, 1.0))
        except NotFound:
            # Somebody deleted the base's snapshot: send everything.
            uploaded = upload_snapshot(self.cloud, whole, span(heartbeat, 0.2, 1.0))
        return AmiSnapshot(
            region=region, snapshot_id=uploaded.snapshot_id, sent_blocks=uploaded.sent_blocks
        )

    @activity.defn(name="bakery.drop_upload", no_thread_cancel_exception=True)
    def drop_upload(self, bake: ResolvedBake) -> None:
        """Forget an upload that this builder began, or finished; its snapshot goes with it."""
        drop_upload(self.cloud, _region(bake), self._journal(bake))

    def _parent(self, bake: ResolvedBake, progress: Progress) -> ParentSnapshot | None:
        """The base's snapshot; what lies in it is known, or read from the base's disk."""
        ami, disk = base_ami(bake, _region(bake)), bake.base.disk
        if ami is None or disk is None:
            return None
        manifest = kept_manifest(self.objects, disk.digest)
        if manifest is None:
            with open_disk(self.cache.disk(disk, progress)) as raw:
                manifest = raw.manifest(progress)
            keep_manifest(self.objects, disk.digest, manifest)
        return ParentSnapshot(ami.snapshot_id, manifest)

    def _journal(self, bake: ResolvedBake) -> Path:
        """A forced bake has its own: another one may tell of a snapshot that an AMI uses."""
        run = f"-{run_id()}" if bake.spec.rebake else ""
        return self.cache.journal(f"bake-{bake.bake_key}{run}")


class BakedAmiActivities:
    """Control side, by EC2 alone."""

    def __init__(self, settings: Settings) -> None:
        self.cloud = Cloud(settings)
        self.replaced_stay = timedelta(days=settings.replaced_ami_days)

    @activity.defn(name="bakery.register_ami", no_thread_cancel_exception=True)
    def register_ami(self, request: RegisterBakedAmi) -> AmiImage:
        """Register the snapshot as an AMI and wait until it is available; twice is once.

        Where the same bytes are an AMI already, that one is the answer, and the snapshot goes; of a
        forced bake each run has an AMI of its own.
        """
        bake, snapshot, disk = request.bake, request.snapshot, request.disk.disk
        parent = base_ami(bake, snapshot.region)
        image = ImageRequest(
            region=snapshot.region,
            name=vm_name(bake, run_id()),
            description=vm_description(bake, parent),
            architecture=disk.architecture,
            boot=disk.boot,
            snapshot_id=snapshot.snapshot_id,
            tags=vm_tags(bake, VmFacts(workflow_id(), parent, request.sbom, run_id())),
        )
        ami = register_image(self.cloud, image, heartbeat)
        if ami.snapshot_id and ami.snapshot_id != snapshot.snapshot_id:
            delete_snapshot(self.cloud, snapshot.region, snapshot.snapshot_id)
        return ami

    @activity.defn(name="bakery.copy_ami", no_thread_cancel_exception=True)
    def copy_ami(self, request: CopyAmi) -> AmiImage:
        """Copy the AMI to one more region and wait until it is available there; twice is once."""
        return copy_image(self.cloud, request.source, request.region, heartbeat)

    @activity.defn(name="bakery.drop_copy", no_thread_cancel_exception=True)
    def drop_copy(self, request: CopyAmi) -> None:
        """Take away a copy that nobody waits for any more, whether it is complete or not."""
        drop_copy(self.cloud, request.source, request.region)

    @activity.defn(name="bakery.share_ami", no_thread_cancel_exception=True)
    def share_ami(self, request: ShareAmi) -> None:
        """Set who may launch the AMI, and from when on it is no longer shown to them."""
        share_image(self.cloud, request.ami, request.spec, request.released_at)

    @activity.defn(name="bakery.find_ami", no_thread_cancel_exception=True)
    def find_ami(self, query: FindBakedAmi) -> AmiImage | None:
        """The AMI of these very bytes in a region, where there is one."""
        return find_tagged(self.cloud, query.region, BAKE_KEY_TAG, query.bake_key)

    @activity.defn(name="bakery.retag_amis", no_thread_cancel_exception=True)
    def retag_amis(self, request: RetagAmis) -> None:
        """Same bytes, other metadata: an update of tags instead of a build."""
        stale = sorted(request.before.keys() - request.tags.keys())
        for ami in request.amis:
            retag_image(self.cloud, ami, request.tags, stale)

    @activity.defn(name="bakery.retire_replaced", no_thread_cancel_exception=True)
    def retire_replaced(self, replaced: list[ReplacedAmi]) -> None:
        """Hide AMIs that a forced bake replaced; a sweep removes them when their time is over."""
        for one in replaced:
            mark_replaced(self.cloud, one.ami, one.replaced_by, datetime.now(UTC))

    @activity.defn(name="bakery.drop_amis", no_thread_cancel_exception=True)
    def drop_amis(self, request: DropBakedAmis) -> None:
        """Take away what this bake made in the cloud, less what an earlier one of it made."""
        for region in sorted({*request.regions}):
            remove_leftovers(self.cloud, region, workflow_id(), heartbeat, keep=request.keep)

    @activity.defn(name="bakery.sweep_cloud", no_thread_cancel_exception=True)
    def sweep_cloud(self, request: SweepBakes) -> list[str]:
        """Remove what bakes that were cut off left behind, and what was replaced long ago."""
        swept = []
        for region in sorted({*request.regions}):
            for image in find_replaced(self.cloud, region, datetime.now(UTC) - self.replaced_stay):
                swept.append(f"image {image.image_id} in {region}")
                if not request.dry_run:
                    deregister_image(self.cloud, image)
            for found in find_leftovers(self.cloud, region):
                mine = found.workflow_id.startswith("bake/")
                if mine and found.workflow_id not in request.keep:
                    swept.append(f"{found.kind} {found.id} in {region}")
                    if not request.dry_run:
                        remove_leftovers(self.cloud, region, found.workflow_id, heartbeat)
        return swept


def _region(bake: ResolvedBake) -> str:
    """The region that gets the snapshot; the others get copies."""
    assert bake.spec.ami is not None
    return bake.spec.ami.regions[0]

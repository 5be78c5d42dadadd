"""AMIs of OS releases: register, copy, share, look for, take away. Control side, by EC2 alone."""

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.baseos.amis import AmiSubject, ami_description, ami_name, ami_tags
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.os_steps import CopyAmi, DropAmis, LineQuery, RegisterAmi, ShareAmi
from fleetwide.providers.cloud import Cloud
from fleetwide.providers.ebs_snapshots import delete_snapshot
from fleetwide.providers.ec2_images import (
    ImageRequest,
    copy_image,
    is_visible,
    register_image,
    share_image,
)
from fleetwide.providers.ec2_retirement import (
    deregister_image,
    find_leftovers,
    instances_using,
    remove_leftovers,
)
from fleetwide.settings import Settings
from fleetwide.store import releases
from fleetwide.store.session import Store


class AmiActivities:
    """Needs EC2 rights and the books; the snapshot itself is the builder's to send."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.cloud = Cloud(settings)
        self.store = store

    @activity.defn(name="baseos.register_ami", no_thread_cancel_exception=True)
    def register_ami(self, request: RegisterAmi) -> AmiImage:
        """Register the snapshot as an AMI and wait until it is available; twice is once."""
        locked = request.locked
        subject = AmiSubject(
            plan=locked.plan,
            build_key=locked.build_key,
            lock_digest=locked.lock.digest,
            epoch=locked.source_date_epoch,
            image_digest=request.image_digest,
        )
        image = ImageRequest(
            region=request.snapshot.region,
            name=ami_name(locked.plan),
            description=ami_description(locked.plan),
            architecture=request.disk.architecture,
            boot=request.disk.boot,
            snapshot_id=request.snapshot.snapshot_id,
            tags=ami_tags(subject),
        )
        return register_image(self.cloud, image, heartbeat)

    @activity.defn(name="baseos.copy_ami", no_thread_cancel_exception=True)
    def copy_ami(self, request: CopyAmi) -> AmiImage:
        """Copy the AMI to one more region and wait until it is available there; twice is once."""
        return copy_image(self.cloud, request.source, request.region, heartbeat)

    @activity.defn(name="baseos.share_ami", no_thread_cancel_exception=True)
    def share_ami(self, request: ShareAmi) -> None:
        """Set who may launch the AMI, and from when on it is no longer shown to them."""
        share_image(self.cloud, request.ami, request.spec, request.released_at)

    @activity.defn(name="baseos.find_invisible", no_thread_cancel_exception=True)
    def find_invisible(self, amis: list[AmiImage]) -> list[str]:
        """The regions whose AMI cannot be launched now."""
        return [ami.region for ami in amis if not is_visible(self.cloud, ami.region, ami.image_id)]

    @activity.defn(name="baseos.count_instances", no_thread_cancel_exception=True)
    def count_instances(self, amis: list[AmiImage]) -> int:
        """How many instances there are that were started from the AMIs."""
        return sum(len(instances_using(self.cloud, ami.region, ami.image_id)) for ami in amis)

    @activity.defn(name="baseos.drop_amis", no_thread_cancel_exception=True)
    def drop_amis(self, request: DropAmis) -> None:
        """Take away AMIs, their snapshots, and whatever else carries the workflow's id there."""
        for ami in request.amis:
            deregister_image(self.cloud, ami)
        for snapshot in request.snapshots:
            delete_snapshot(self.cloud, snapshot.region, snapshot.snapshot_id)
        for region in sorted({*request.regions}):
            remove_leftovers(self.cloud, region, request.workflow_id, heartbeat)

    @activity.defn(name="baseos.sweep_cloud", no_thread_cancel_exception=True)
    def sweep_cloud(self, query: LineQuery) -> list[str]:
        """Remove what builds of the line left behind that ended without taking it back."""
        with self.store.read() as session:
            owners = releases.cloud_owners(session, query.name)
        swept = []
        for region in owners.regions:
            for found in find_leftovers(self.cloud, region):
                mine = found.workflow_id.startswith(f"os/{query.name}/")
                if mine and found.workflow_id not in owners.workflow_ids:
                    swept.append(f"{found.kind} {found.id} in {region}")
                    remove_leftovers(self.cloud, region, found.workflow_id, heartbeat)
        return swept

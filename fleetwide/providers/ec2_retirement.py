"""The end of AMIs: who still uses one, removing one, and finding what was left behind."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from fleetwide.bakery.vm_tags import BAKE_KEY_TAG, REPLACED_TAG
from fleetwide.baseos.amis import WORKFLOW_TAG
from fleetwide.models.os_releases import AmiImage
from fleetwide.providers.cloud import Cloud, missing_is_fine, translated
from fleetwide.providers.ebs_snapshots import delete_snapshot
from fleetwide.providers.ec2_images import set_deprecation
from fleetwide.providers.ec2_lookup import find_image, snapshots_of, tag_list, tags_of
from fleetwide.providers.ec2_volumes import remove_volume
from fleetwide.providers.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        FilterTypeDef,
        ImageTypeDef,
        SnapshotTypeDef,
        VolumeTypeDef,
    )

REMOVAL_ORDER = ("image", "volume", "snapshot")
# EC2 takes no time that has passed, and rounds to the minute.
DEPRECATION_DELAY = timedelta(minutes=5)
USING_STATES = ["pending", "running", "stopping", "stopped"]


@dataclass(frozen=True)
class Leftover:
    """An image, a snapshot or a volume that carries a workflow's id."""

    kind: Literal["image", "snapshot", "volume"]
    region: str
    id: str
    workflow_id: str
    state: str


def instances_using(cloud: Cloud, region: str, image_id: str) -> list[str]:
    """Ids of the instances of this account, running or stopped, that were made of the image."""
    with translated(region):
        pages = cloud.ec2(region).get_paginator("describe_instances")
        found = pages.paginate(
            Filters=[
                {"Name": "image-id", "Values": [image_id]},
                {"Name": "instance-state-name", "Values": USING_STATES},
            ]
        )
        return sorted(
            instance.get("InstanceId", "")
            for page in found
            for reservation in page["Reservations"]
            for instance in reservation.get("Instances", [])
        )


def deregister_image(cloud: Cloud, image: AmiImage) -> None:
    """Remove an image and its snapshots; what is gone already counts as removed.

    Raises ``Conflict`` when another image uses one of the snapshots.
    """
    snapshots = {image.snapshot_id} - {""}
    with translated(image.region):
        ec2 = cloud.ec2(image.region)
        present = find_image(ec2, image.image_id)
        if present is not None:
            snapshots |= set(snapshots_of(present))
            with missing_is_fine():
                ec2.deregister_image(ImageId=image.image_id)
    for snapshot_id in sorted(snapshots):
        delete_snapshot(cloud, image.region, snapshot_id)


def drop_copy(cloud: Cloud, source: AmiImage, region: str) -> None:
    """Remove the copies of a baked image in a region; an image of others under its name stays."""
    ours: list[FilterTypeDef] = [
        {"Name": "name", "Values": [source.name]},
        {"Name": "tag-key", "Values": [BAKE_KEY_TAG]},
    ]
    with translated(region):
        found = cloud.ec2(region).describe_images(Owners=["self"], Filters=ours)["Images"]
    for image in found:
        image_id = image.get("ImageId", "")
        deregister_image(cloud, AmiImage(region=region, image_id=image_id, snapshot_id=""))


def mark_replaced(cloud: Cloud, image: AmiImage, replaced_by: str, at: datetime) -> None:
    """Hide an image that another one took the place of; who knows its id may still launch it.

    A missing image counts as replaced.
    """
    with translated(image.region):
        ec2 = cloud.ec2(image.region)
        found = find_image(ec2, image.image_id)
        if found is None:
            return
        tags = tag_list({REPLACED_TAG: replaced_by})
        ec2.create_tags(Resources=[image.image_id, *snapshots_of(found)], Tags=tags)
    set_deprecation(cloud, image.region, image.image_id, at + DEPRECATION_DELAY)


def find_replaced(cloud: Cloud, region: str, before: datetime) -> list[AmiImage]:
    """Images that were replaced before a time, and that no instance of this account was made of."""
    marked: list[FilterTypeDef] = [{"Name": "tag-key", "Values": [REPLACED_TAG]}]
    with translated(region):
        pages = cloud.ec2(region).get_paginator("describe_images")
        found = pages.paginate(Owners=["self"], Filters=marked)
        images = [image for page in found for image in page["Images"]]
    old = [image for image in images if _hidden_before(image, before)]
    ids = [image.get("ImageId", "") for image in old]
    unused = [one for one in ids if not instances_using(cloud, region, one)]
    return [AmiImage(region=region, image_id=one, snapshot_id="") for one in unused]


def _hidden_before(image: "ImageTypeDef", before: datetime) -> bool:
    hidden = image.get("DeprecationTime")
    return bool(hidden) and datetime.fromisoformat(str(hidden)) < before


def find_leftovers(cloud: Cloud, region: str) -> list[Leftover]:
    """Everything in the region that carries a workflow's id, in use or not.

    What a forced bake replaced is not among it: that goes in its own time (``find_replaced``).
    """
    tagged: list[FilterTypeDef] = [{"Name": "tag-key", "Values": [WORKFLOW_TAG]}]
    with translated(region):
        ec2 = cloud.ec2(region)
        images = ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=tagged)
        snapshots = ec2.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"], Filters=tagged
        )
        volumes = ec2.get_paginator("describe_volumes").paginate(Filters=tagged)
        return [
            *(
                Leftover("image", region, image.get("ImageId", ""), *_facts(image))
                for page in images
                for image in page["Images"]
                if REPLACED_TAG not in tags_of(image)
            ),
            *(
                Leftover("snapshot", region, snapshot.get("SnapshotId", ""), *_facts(snapshot))
                for page in snapshots
                for snapshot in page["Snapshots"]
                if REPLACED_TAG not in tags_of(snapshot)
            ),
            *(
                Leftover("volume", region, volume.get("VolumeId", ""), *_facts(volume))
                for page in volumes
                for volume in page["Volumes"]
            ),
        ]


def remove_leftovers(
    cloud: Cloud, region: str, workflow_id: str, progress: Progress, keep: Collection[str] = ()
) -> None:
    """Remove what a workflow made in a region, in an order in which nothing is in use.

    The images of the ids in ``keep`` stay, and so do their snapshots.
    """
    with translated(region):
        kept = [image for one in keep if (image := find_image(cloud.ec2(region), one))]
    staying = {*keep, *(snapshot for image in kept for snapshot in snapshots_of(image))}
    mine = [one for one in find_leftovers(cloud, region) if one.workflow_id == workflow_id]
    going = [one for one in mine if one.id not in staying]
    for found in sorted(going, key=lambda one: REMOVAL_ORDER.index(one.kind)):
        if found.kind == "image":
            deregister_image(cloud, AmiImage(region=region, image_id=found.id, snapshot_id=""))
        elif found.kind == "volume":
            remove_volume(cloud, region, found.id, progress)
        else:
            delete_snapshot(cloud, region, found.id)


def _facts(found: "ImageTypeDef | SnapshotTypeDef | VolumeTypeDef") -> tuple[str, str]:
    return tags_of(found)[WORKFLOW_TAG], found.get("State", "")

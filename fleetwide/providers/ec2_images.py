"""AMIs: register a snapshot as an image, copy it to regions, say who may launch it.

Every function here may be run again: it finds what an earlier run did and goes on from there.
Beyond those named, it raises ``CloudUnavailable``.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from fleetwide.baseos.amis import (
    BUILD_KEY_TAG,
    EC2_ARCHITECTURES,
    boot_mode_of,
    permission_change,
)
from fleetwide.errors import CloudUnavailable, Conflict
from fleetwide.models.baseos import AmiSpec, Architecture, BootMode
from fleetwide.models.os_releases import AmiImage
from fleetwide.providers.cloud import Cloud, Patience, code_of, translated
from fleetwide.providers.ec2_lookup import (
    find_image,
    get_image,
    snapshots_of,
    tag_list,
    tags_of,
)
from fleetwide.providers.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef

ROOT_DEVICE = "/dev/xvda"
DEAD_STATES = frozenset({"invalid", "deregistered", "failed", "error"})
DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True)
class ImageRequest:
    """An image to register; ``tags`` must hold ``fleetwide:build-key``."""

    region: str
    name: str
    description: str
    architecture: Architecture
    boot: BootMode
    snapshot_id: str
    tags: Mapping[str, str]


def register_image(
    cloud: Cloud,
    request: ImageRequest,
    progress: Progress,
    patience: Patience = DEFAULT_PATIENCE,
) -> AmiImage:
    """Register a completed snapshot as an image and wait until it is available.

    An image of that name with the same build key is the answer of an earlier run, and is returned
    with the snapshot that it has. Raises ``Conflict`` when the name belongs to something else.
    """
    region = request.region
    with translated(region):
        ec2 = cloud.ec2(region)
        earlier = _alive(_named(ec2, request.name), request.tags)
        image_id = earlier or _register(ec2, request)
        image = _available(ec2, image_id, progress, patience)
        ami = _tagged(ec2, region, image, request.tags)
    return ami if earlier else ami.model_copy(update={"snapshot_id": request.snapshot_id})


def copy_image(
    cloud: Cloud,
    source: AmiImage,
    region: str,
    progress: Progress,
    patience: Patience = DEFAULT_PATIENCE,
) -> AmiImage:
    """Copy an image with its name and tags to another region; wait until it is available there.

    Raises ``NotFound`` when the source is gone, ``Conflict`` when the name is taken over there.
    """
    with translated(source.region):
        original = get_image(cloud.ec2(source.region), source.image_id)
    tags = tags_of(original)
    with translated(region):
        ec2 = cloud.ec2(region)
        there = _named(ec2, source.name)
        image_id = _alive(there, tags) or _copy(ec2, source, original, there)
        return _tagged(ec2, region, _available(ec2, image_id, progress, patience), tags)


def find_tagged(cloud: Cloud, region: str, key: str, value: str) -> AmiImage | None:
    """An image of this account that can be launched and carries the tag; the newest of several."""
    with translated(region):
        pages = cloud.ec2(region).get_paginator("describe_images")
        found = pages.paginate(Owners=["self"], Filters=[{"Name": f"tag:{key}", "Values": [value]}])
        images = [one for page in found for one in page["Images"]]
    alive = [image for image in images if image.get("State") == "available"]
    newest = max(alive, key=lambda image: image.get("CreationDate", ""), default=None)
    return None if newest is None else _as_ami(region, newest)


def retag_image(cloud: Cloud, image: AmiImage, tags: Mapping[str, str], stale: list[str]) -> None:
    """Set tags of an image and its snapshots, and take the ``stale`` ones off.

    Raises ``NotFound`` when the image is gone.
    """
    with translated(image.region):
        ec2 = cloud.ec2(image.region)
        resources = [image.image_id, *snapshots_of(get_image(ec2, image.image_id))]
        ec2.create_tags(Resources=resources, Tags=tag_list(tags))
        if stale:
            ec2.delete_tags(Resources=resources, Tags=[{"Key": key} for key in stale])


def is_visible(cloud: Cloud, region: str, image_id: str) -> bool:
    """Whether the image exists in the region and can be launched."""
    with translated(region):
        image = find_image(cloud.ec2(region), image_id)
    return image is not None and image.get("State") == "available"


def set_launch_permissions(
    cloud: Cloud,
    region: str,
    image_id: str,
    accounts: Collection[str],
    organizations: Collection[str],
) -> None:
    """Let exactly these accounts and organisations launch the image, besides its owner.

    Raises ``InvalidInput`` for an account that AWS does not know.
    """
    with translated(region):
        ec2 = cloud.ec2(region)
        current = ec2.describe_image_attribute(ImageId=image_id, Attribute="launchPermission")
        now = [
            {kind: str(value) for kind, value in permission.items()}
            for permission in current["LaunchPermissions"]
        ]
        change = permission_change(now, accounts, organizations)
        if change:
            ec2.modify_image_attribute(
                ImageId=image_id,
                LaunchPermission={"Add": change.add, "Remove": change.remove},  # type: ignore[typeddict-item]
            )


def set_deprecation(cloud: Cloud, region: str, image_id: str, at: datetime | None) -> None:
    """Hide the image from people's lists from ``at`` on; None takes that back."""
    with translated(region):
        ec2 = cloud.ec2(region)
        if at is None:
            ec2.disable_image_deprecation(ImageId=image_id)
        else:
            ec2.enable_image_deprecation(ImageId=image_id, DeprecateAt=at.astimezone(UTC))


def share_image(cloud: Cloud, image: AmiImage, spec: AmiSpec, released_at: datetime) -> None:
    """Set who may launch the image, and from when on it is no longer shown to them.

    Raises ``InvalidInput`` for an account that AWS does not know.
    """
    set_launch_permissions(cloud, image.region, image.image_id, spec.accounts, spec.organizations)
    if spec.deprecate_after_days is not None:
        at = released_at + timedelta(days=spec.deprecate_after_days)
        set_deprecation(cloud, image.region, image.image_id, at)


def _register(ec2: "EC2Client", request: ImageRequest) -> str:
    architecture = EC2_ARCHITECTURES[request.architecture]
    disk = {"SnapshotId": request.snapshot_id, "VolumeType": "gp3", "DeleteOnTermination": True}
    try:
        answer = ec2.register_image(
            Name=request.name,
            Description=request.description,
            Architecture=architecture,  # type: ignore[arg-type]
            RootDeviceName=ROOT_DEVICE,
            BlockDeviceMappings=[{"DeviceName": ROOT_DEVICE, "Ebs": disk}],  # type: ignore[typeddict-item]
            VirtualizationType="hvm",
            EnaSupport=True,
            BootMode=boot_mode_of(request.architecture, request.boot),  # type: ignore[arg-type]
            ImdsSupport="v2.0",
            TagSpecifications=[{"ResourceType": "image", "Tags": tag_list(request.tags)}],
        )
    except ClientError as error:
        if code_of(error) != "InvalidAMIName.Duplicate":
            raise
        return _alive(_named(ec2, request.name), request.tags) or _not_listed(request.name)
    return answer["ImageId"]


def _not_listed(name: str) -> str:
    raise CloudUnavailable(f"the image name {name} is taken by an image that EC2 does not list yet")


def _copy(
    ec2: "EC2Client", source: AmiImage, original: "ImageTypeDef", there: "list[ImageTypeDef]"
) -> str:
    tags = tag_list(tags_of(original))
    answer = ec2.copy_image(
        Name=source.name,
        Description=original.get("Description", ""),
        SourceImageId=source.image_id,
        SourceRegion=source.region,
        CopyImageTags=True,
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
        ClientToken=_copy_token(source, there),
    )
    return answer["ImageId"]


def _copy_token(source: AmiImage, there: "list[ImageTypeDef]") -> str:
    """The same for each attempt at a copy, another one once a copy has failed."""
    dead = sorted(image.get("ImageId", "") for image in there)
    parts = "/".join((source.region, source.image_id, source.name, *dead))
    return hashlib.sha256(parts.encode()).hexdigest()


def _named(ec2: "EC2Client", name: str) -> "list[ImageTypeDef]":
    found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])
    return found["Images"]


def _alive(images: "list[ImageTypeDef]", tags: Mapping[str, str]) -> str | None:
    """The image of these that was made for the same build; ``Conflict`` when another one was."""
    alive = [image for image in images if image.get("State") not in DEAD_STATES]
    build_key = tags.get(BUILD_KEY_TAG)
    for image in alive:
        if build_key and tags_of(image).get(BUILD_KEY_TAG) == build_key:
            return image.get("ImageId", "")
    if alive:
        name, image_id = alive[0].get("Name", ""), alive[0].get("ImageId", "")
        raise Conflict(
            f"the image name {name} belongs to {image_id}, which is of another build",
            hint=f"aws ec2 deregister-image --image-id {image_id}  # or build another version",
        )
    return None


def _available(
    ec2: "EC2Client", image_id: str, progress: Progress, patience: Patience
) -> "ImageTypeDef":
    """The image once it is available; one that EC2 does not list yet is waited for."""

    def available() -> bool:
        image = find_image(ec2, image_id) or {}
        state = image.get("State", "pending")
        if state in DEAD_STATES:
            reason = image.get("StateReason", {}).get("Message", "no reason given")
            raise CloudUnavailable(f"the image {image_id} ended as {state}: {reason}")
        return state == "available"

    patience.until(available, progress, "waiting for the image")
    return get_image(ec2, image_id)


def _tagged(
    ec2: "EC2Client", region: str, image: "ImageTypeDef", tags: Mapping[str, str]
) -> AmiImage:
    """Put what is missing of the tags on the image, and all on its snapshots."""
    image_id, snapshots = image.get("ImageId", ""), snapshots_of(image)
    present = tags_of(image)
    bare = [] if all(present.get(key) == value for key, value in tags.items()) else [image_id]
    if bare or snapshots:
        ec2.create_tags(Resources=[*bare, *snapshots], Tags=tag_list(tags))
    return _as_ami(region, image)


def _as_ami(region: str, image: "ImageTypeDef") -> AmiImage:
    return AmiImage(
        region=region,
        image_id=image.get("ImageId", ""),
        snapshot_id=next(iter(snapshots_of(image)), ""),
        name=image.get("Name", ""),
    )

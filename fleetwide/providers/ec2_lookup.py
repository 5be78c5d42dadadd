"""Reads EC2's answers about images, snapshots and tags."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fleetwide.errors import NotFound
from fleetwide.providers.cloud import missing_is_fine

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef, SnapshotTypeDef, TagTypeDef, VolumeTypeDef


def find_image(ec2: "EC2Client", image_id: str) -> "ImageTypeDef | None":
    """The image; None when there is none. EC2 goes on showing a deregistered one for a while."""
    with missing_is_fine():
        for image in ec2.describe_images(ImageIds=[image_id])["Images"]:
            if image.get("State") != "deregistered":
                return image
    return None


def get_image(ec2: "EC2Client", image_id: str) -> "ImageTypeDef":
    """The image, or ``NotFound``."""
    image = find_image(ec2, image_id)
    if image is None:
        raise NotFound(
            f"there is no image {image_id}", hint="aws ec2 describe-images --owners self"
        )
    return image


def snapshots_of(image: "ImageTypeDef") -> list[str]:
    disks = (mapping.get("Ebs", {}) for mapping in image.get("BlockDeviceMappings", []))
    return [found for disk in disks if (found := disk.get("SnapshotId"))]


def tags_of(found: "ImageTypeDef | SnapshotTypeDef | VolumeTypeDef") -> dict[str, str]:
    return {tag.get("Key", ""): tag.get("Value", "") for tag in found.get("Tags", [])}


def tag_list(tags: Mapping[str, str]) -> "list[TagTypeDef]":
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]

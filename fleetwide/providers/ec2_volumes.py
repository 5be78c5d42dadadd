"""EBS volumes to work on: made of a snapshot, attached here, turned into a snapshot, and gone.

Whatever happens, nothing stays: each step is taken back in reverse order, and what a killed process
left carries its workflow's id (``ec2_retirement.remove_leftovers``).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from fleetwide.errors import CloudUnavailable, FleetwideError, PlatformError
from fleetwide.providers.cloud import Cloud, Patience, missing_is_fine, translated
from fleetwide.providers.ebs_snapshots import delete_snapshot
from fleetwide.providers.ec2_instance import Instance
from fleetwide.providers.ec2_lookup import tag_list
from fleetwide.providers.file_locks import locked
from fleetwide.providers.progress import INTERVAL_SECONDS, Progress, no_progress

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import VolumeTypeDef

# What AWS recommends for EBS volumes: "Device names on Linux instances".
LETTERS = "fghijklmnop"
NVME_LINK = "disk/by-id/nvme-Amazon_Elastic_Block_Store_"
DEVICE_SECONDS = 60.0
PATIENCE = Patience(seconds=900, poll_seconds=2)


@dataclass(frozen=True)
class Devices:
    """Where this machine's block devices are, and the lock for taking a letter."""

    folder: Path = Path("/dev")
    lock: Path = Path("/run/lock/fleetwide-devices.lock")


@dataclass(frozen=True)
class Workplace:
    """An instance to attach volumes to: this one."""

    cloud: Cloud
    instance: Instance
    devices: Devices = field(default_factory=Devices)
    patience: Patience = PATIENCE

    @property
    def ec2(self) -> "EC2Client":
        return self.cloud.ec2(self.instance.region)


@contextmanager
def working_volume(
    place: Workplace, snapshot_id: str, tags: Mapping[str, str], progress: Progress
) -> Iterator[str]:
    """A new volume of a snapshot in the instance's zone; gone when the block ends.

    Raises ``NotFound`` when the snapshot is gone, ``CloudUnavailable`` for all else.
    """
    region = place.instance.region
    with translated(region):
        made = place.ec2.create_volume(
            SnapshotId=snapshot_id,
            AvailabilityZone=place.instance.zone,
            VolumeType="gp3",
            TagSpecifications=[{"ResourceType": "volume", "Tags": tag_list(tags)}],
        )
    volume_id = made["VolumeId"]
    with _taken_back(lambda: remove_volume(place.cloud, region, volume_id, no_progress)):
        _await_state(place, volume_id, "available", progress)
        yield volume_id


@contextmanager
def attached(place: Workplace, volume_id: str, progress: Progress) -> Iterator[Path]:
    """The device of a volume that is attached while the block lasts.

    Raises ``CloudUnavailable`` when EC2 does not attach it, ``PlatformError`` when no letter is
    free or no device shows up.
    """
    with _taken_back(lambda: _detach(place, volume_id)):
        letter = _attach(place, volume_id, progress)
        _await_state(place, volume_id, "in-use", progress)
        yield _device(place.devices, volume_id, letter, progress)


@contextmanager
def volume_snapshot(
    place: Workplace, volume_id: str, description: str, tags: Mapping[str, str], progress: Progress
) -> Iterator[str]:
    """A completed snapshot of a detached volume; it stays unless the block fails."""
    region = place.instance.region
    try:
        with translated(region):
            made = place.ec2.create_snapshot(
                VolumeId=volume_id,
                Description=description,
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(tags)}],
            )
            _await_snapshot(place, made["SnapshotId"], progress)
        _drop_snapshots(place, volume_id, keep=made["SnapshotId"])
        yield made["SnapshotId"]
    except BaseException:
        with suppress(FleetwideError):  # the error that led here says more
            _drop_snapshots(place, volume_id, keep=None)
        raise


def remove_volume(
    cloud: Cloud, region: str, volume_id: str, progress: Progress, patience: Patience = PATIENCE
) -> None:
    """Detach a volume from whatever it is attached to, and delete it; a missing one is deleted."""
    with translated(region), missing_is_fine():
        ec2 = cloud.ec2(region)
        volume = _volume(ec2, volume_id)
        if _release(ec2, volume):
            patience.until(
                lambda: _volume(ec2, volume_id).get("State") != "in-use",
                progress,
                "detaching the volume",
            )
        if volume.get("State") not in ("deleting", "deleted"):
            ec2.delete_volume(VolumeId=volume_id)


@contextmanager
def _taken_back(undo: Callable[[], None]) -> Iterator[None]:
    """Undo at the end; of a block that failed, its own error says more than that of the undoing."""
    try:
        yield
    except BaseException:
        with suppress(FleetwideError):
            undo()
        raise
    undo()


def _attach(place: Workplace, volume_id: str, progress: Progress) -> str:
    """Attach at a free letter. The lock keeps other bakes from choosing the same one."""
    waiting = "waiting for another bake that attaches its volume"
    with locked(place.devices.lock, progress, waiting), translated(place.instance.region):
        for letter in _free_letters(place):
            try:
                place.ec2.attach_volume(
                    VolumeId=volume_id, InstanceId=place.instance.id, Device=f"/dev/sd{letter}"
                )
            except ClientError as error:
                if "in use" not in error.response.get("Error", {}).get("Message", ""):
                    raise
            else:
                return letter
    raise PlatformError(
        f"no device letter is free on {place.instance.id}: {len(LETTERS)} volumes are attached",
        hint=f"aws ec2 describe-volumes --filters Name=attachment.instance-id,"
        f"Values={place.instance.id} --region {place.instance.region}",
    )


def _free_letters(place: Workplace) -> list[str]:
    found = place.ec2.describe_instances(InstanceIds=[place.instance.id])
    mappings = [
        mapping.get("DeviceName", "")
        for reservation in found["Reservations"]
        for instance in reservation.get("Instances", [])
        for mapping in instance.get("BlockDeviceMappings", [])
    ]
    used = {name.rpartition("/")[2].rstrip("0123456789")[-1:] for name in mappings}
    here = place.devices.folder
    return [
        letter
        for letter in LETTERS
        if letter not in used and not any((here / f"{kind}{letter}").exists() for kind in _KINDS)
    ]


_KINDS = ("sd", "xvd")


def _device(devices: Devices, volume_id: str, letter: str, progress: Progress) -> Path:
    """Where the kernel shows the volume: by its serial number on Nitro, else by the letter."""
    names = (NVME_LINK + volume_id.replace("-", ""), *(f"{kind}{letter}" for kind in _KINDS))
    deadline = time.monotonic() + DEVICE_SECONDS
    while time.monotonic() < deadline:
        for name in names:
            if (devices.folder / name).exists():
                return (devices.folder / name).resolve()
        progress("waiting for the volume's device", None)
        time.sleep(INTERVAL_SECONDS)
    raise PlatformError(
        f"{volume_id} is attached as /dev/sd{letter}, but no device showed up",
        hint="on the builder: lsblk -o NAME,SERIAL; udevadm settle",
    )


def _await_state(place: Workplace, volume_id: str, state: str, progress: Progress) -> None:
    def reached() -> bool:
        volume = _volume(place.ec2, volume_id)
        if volume.get("State") == "error":
            raise CloudUnavailable(f"the volume {volume_id} ended as error")
        states = [one.get("State") for one in volume.get("Attachments", [])]
        return volume.get("State") == state and states in ([], ["attached"])

    with translated(place.instance.region):
        place.patience.until(reached, progress, f"waiting for the volume to be {state}")


def _await_snapshot(place: Workplace, snapshot_id: str, progress: Progress) -> None:
    def completed() -> bool:
        found = place.ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
        state = next((one.get("State") for one in found), None)
        if state not in ("pending", "completed"):
            raise CloudUnavailable(f"the snapshot {snapshot_id} ended as {state or 'missing'}")
        return state == "completed"

    place.patience.until(completed, progress, "taking the snapshot")


def _drop_snapshots(place: Workplace, volume_id: str, *, keep: str | None) -> None:
    """Delete the volume's snapshots but one: a request that was repeated makes a second one."""
    region = place.instance.region
    with translated(region):
        found = place.ec2.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "volume-id", "Values": [volume_id]}]
        )
    for snapshot in found["Snapshots"]:
        if snapshot.get("SnapshotId") != keep:
            delete_snapshot(place.cloud, region, snapshot.get("SnapshotId", ""))


def _detach(place: Workplace, volume_id: str) -> None:
    with translated(place.instance.region), missing_is_fine():
        if _release(place.ec2, _volume(place.ec2, volume_id)):
            _await_state(place, volume_id, "available", no_progress)


def _release(ec2: "EC2Client", volume: "VolumeTypeDef") -> bool:
    """Ask for a volume to be detached; whether it was attached."""
    held = [one for one in volume.get("Attachments", []) if one.get("State") != "detached"]
    for attachment in held:
        if attachment.get("State") != "detaching":
            ec2.detach_volume(
                VolumeId=volume.get("VolumeId", ""), InstanceId=attachment.get("InstanceId", "")
            )
    return bool(held)


def _volume(ec2: "EC2Client", volume_id: str) -> "VolumeTypeDef":
    return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]

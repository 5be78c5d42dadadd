"""AMIs of bakes, from the child snapshot to the end, on moto that answers like AWS."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.bake_amis import BakedAmiActivities, BakedDiskUploads
from fleetwide.bakery.vm_tags import VmFacts, vm_name, vm_tags
from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from fleetwide.errors import Conflict
from fleetwide.models.bake_amis import (
    DropBakedAmis,
    FindBakedAmi,
    RegisterBakedAmi,
    ReplacedAmi,
    RetagAmis,
    SweepBakes,
    UploadBakedDisk,
)
from fleetwide.models.bakery import BakeAmiSpec
from fleetwide.models.bakes import BakedDisk, ResolvedBake
from fleetwide.models.baseos import MIB, Architecture, BootMode
from fleetwide.models.os_releases import AmiImage, DiskImage
from fleetwide.models.os_steps import AmiSnapshot, CopyAmi, ShareAmi
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.disks import digest_disk
from fleetwide.providers.ebs_snapshots import SnapshotRequest, upload_snapshot
from fleetwide.providers.ec2_retirement import DEPRECATION_DELAY
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.progress import no_progress
from fleetwide.settings import Settings
from tests.aws import ACCOUNT, COPY_REGION, REGION, Aws, running_aws
from tests.unit.bakes import BASE, resolved

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
SIZE = 8 * MIB


@dataclass(frozen=True)
class Setting:
    """A base that is an AMI, a disk baked onto it, and the activities."""

    aws: Aws
    folder: Path
    bake: ResolvedBake
    disk: BakedDisk
    uploads: BakedDiskUploads
    amis: BakedAmiActivities
    run_id: str = "0000-1111"

    def forced(self, run_id: str) -> "Setting":
        """The same bake asked for again with ``rebake``, as another run."""
        spec = self.bake.spec.model_copy(update={"rebake": True})
        bake = self.bake.model_copy(update={"spec": spec})
        return dataclasses.replace(self, bake=bake, run_id=run_id)

    def run(self, call: Callable[..., Any], *given: Any) -> Any:
        """As an activity of the bake's workflow."""
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(
            environment.info,
            workflow_id=f"bake/{self.bake.bake_key}",
            workflow_run_id=self.run_id,
        )
        return environment.run(call, *given)

    def upload(self) -> AmiSnapshot:
        snapshot: AmiSnapshot = self.run(
            self.uploads.upload_snapshot, UploadBakedDisk(bake=self.bake, disk=self.disk)
        )
        return snapshot

    def register(self, snapshot: AmiSnapshot) -> AmiImage:
        request = RegisterBakedAmi(bake=self.bake, disk=self.disk, snapshot=snapshot)
        ami: AmiImage = self.run(self.amis.register_ami, request)
        return ami


def disk_at(cache: BuilderCache, blocks: dict[int, bytes]) -> DiskImage:
    """A disk in the builder's cache."""
    raw = cache.folder / "new.raw"
    with raw.open("wb") as writer:
        writer.truncate(SIZE)
        for index, content in blocks.items():
            writer.seek(index * BLOCK_BYTES)
            writer.write(content)
    digest, used = digest_disk(raw, no_progress)
    kept = cache.disk_path(digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    raw.replace(kept)
    return DiskImage(
        digest=digest,
        size=SIZE,
        used=used,
        boot=BootMode.BIOS,
        architecture=Architecture.AMD64,
        key=f"disks/{digest[7:]}.gz",
    )


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with running_aws(like_aws=True) as aws:
        settings = Settings(aws_endpoint_url=aws.url, builder_dir=tmp_path / "builder")
        uploads = BakedDiskUploads(settings, FolderStore(tmp_path / "objects"))
        uploads.cache.folder.mkdir()
        before = disk_at(uploads.cache, {0: b"boot", 3: b"base", 5: b"gone"})
        after = disk_at(uploads.cache, {0: b"boot", 3: b"baked", 7: b"new"})
        path = uploads.cache.disk_path(before.digest)
        request = SnapshotRequest(path, tmp_path / "journal", REGION, "base", {"Name": "base"})
        parent = upload_snapshot(aws.cloud(), request, no_progress)
        ami = AmiImage(
            region=REGION, image_id="ami-base", snapshot_id=parent.snapshot_id, name="base"
        )
        base = BASE.model_copy(update={"disk": before, "amis": [ami]})
        bake = resolved(base, targets=["vm"], ami={"regions": [REGION, COPY_REGION]}, owner="a")
        disk = BakedDisk(disk=after, changed_bytes=3 * BLOCK_BYTES, build_seconds=1)
        yield Setting(aws, tmp_path, bake, disk, uploads, BakedAmiActivities(settings))


def tags_of(thing: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing["Tags"]}


def test_only_changed_blocks_go_up_as_a_child_of_the_base(setting: Setting) -> None:
    snapshot = setting.upload()
    assert sorted(setting.aws.traffic.answered[3:]) == [3, 5, 7]
    assert snapshot.sent_blocks == 3
    blocks = setting.aws.blocks(snapshot.snapshot_id)
    assert {index: data.rstrip(b"\0") for index, data in blocks.items()} == {
        0: b"boot",
        3: b"baked",
        5: b"",
        7: b"new",
    }
    assert setting.upload() == snapshot
    assert len(setting.aws.traffic.answered) == 6


def test_a_known_manifest_of_the_base_saves_reading_its_disk(setting: Setting) -> None:
    setting.upload()
    base = setting.bake.base.disk
    assert base is not None
    setting.uploads.cache.disk_path(base.digest).unlink()
    (setting.uploads.cache.folder / f"uploads/bake-{setting.bake.bake_key}.jsonl").unlink()
    assert setting.upload().sent_blocks == 3


def test_without_the_bases_snapshot_everything_goes_up(setting: Setting) -> None:
    ec2 = setting.aws.client("ec2")
    ec2.delete_snapshot(SnapshotId=setting.bake.base.amis[0].snapshot_id)
    assert setting.upload().sent_blocks == 3
    assert sorted(setting.aws.traffic.answered[3:]) == [0, 3, 7]


def test_a_snapshot_of_a_volume_is_taken_as_it_is(setting: Setting) -> None:
    made = AmiSnapshot(region=REGION, snapshot_id="snap-1", sent_blocks=9)
    disk = setting.disk.model_copy(update={"snapshot": made})
    request = UploadBakedDisk(bake=setting.bake, disk=disk)
    assert setting.run(setting.uploads.upload_snapshot, request) == made


def test_an_ami_carries_the_common_metadata_and_is_registered_once(setting: Setting) -> None:
    snapshot = setting.upload()
    ami = setting.register(snapshot)
    image = setting.aws.image(ami.image_id)
    facts = VmFacts(f"bake/{setting.bake.bake_key}", setting.bake.base.amis[0])
    assert tags_of(image) == vm_tags(setting.bake, facts)
    assert tags_of(setting.aws.snapshot(snapshot.snapshot_id)) == vm_tags(setting.bake, facts)
    assert (image["Name"], image["BootMode"]) == (vm_name(setting.bake), "legacy-bios")
    assert setting.register(snapshot) == ami
    query = FindBakedAmi(bake_key=setting.bake.bake_key, region=REGION)
    assert setting.run(setting.amis.find_ami, query) == ami
    other = FindBakedAmi(bake_key="0" * 64, region=REGION)
    assert setting.run(setting.amis.find_ami, other) is None


def test_a_second_snapshot_of_the_same_bytes_goes_again(setting: Setting) -> None:
    first = setting.upload()
    ami = setting.register(first)
    (setting.uploads.cache.folder / f"uploads/bake-{setting.bake.bake_key}.jsonl").unlink()
    second = setting.upload()
    assert second.snapshot_id != first.snapshot_id
    assert setting.register(second) == ami
    assert second.snapshot_id not in setting.aws.snapshot_ids()


def test_a_name_that_belongs_to_something_else_is_a_conflict(setting: Setting) -> None:
    snapshot = setting.upload()
    setting.register(snapshot)
    image_id = setting.run(
        setting.amis.find_ami, FindBakedAmi(bake_key=setting.bake.bake_key, region=REGION)
    ).image_id
    setting.aws.client("ec2").create_tags(
        Resources=[image_id], Tags=[{"Key": "fleetwide:build-key", "Value": "other"}]
    )
    with pytest.raises(Conflict, match=f"belongs to {image_id}"):
        setting.register(snapshot)


def test_a_forced_bake_registers_an_ami_of_its_own_once_a_run(setting: Setting) -> None:
    first = setting.register(setting.upload())
    again = setting.forced("0000-2222")
    snapshot = again.upload()
    second = again.register(snapshot)
    assert second.image_id != first.image_id
    assert second.name == f"{first.name}-2222"
    assert tags_of(setting.aws.image(second.image_id))["Name"] == second.name
    assert (again.upload(), again.register(snapshot)) == (snapshot, second)
    third = setting.forced("0000-3333")
    assert third.register(third.upload()).image_id not in {first.image_id, second.image_id}
    assert setting.aws.image(first.image_id)["State"] == "available"


def test_a_forced_bake_that_came_to_nothing_leaves_the_ami_before(setting: Setting) -> None:
    first = setting.register(setting.upload())
    again = setting.forced("0000-2222")
    again.run(again.uploads.drop_upload, again.bake)
    second = again.register(again.upload())
    again.run(again.amis.drop_amis, DropBakedAmis(regions=[REGION], keep=[first.image_id]))
    base = setting.bake.base.amis[0].snapshot_id
    assert setting.aws.snapshot_ids() == sorted([base, first.snapshot_id])
    again.run(again.uploads.drop_upload, again.bake)
    assert second.snapshot_id not in setting.aws.snapshot_ids()


def test_a_replaced_ami_is_hidden_and_goes_when_its_time_is_over(setting: Setting) -> None:
    first = setting.register(setting.upload())
    again = setting.forced("0000-2222")
    second = again.register(again.upload())
    replaced = [ReplacedAmi(ami=first, replaced_by=second.image_id)]
    for _ in range(2):
        again.run(again.amis.retire_replaced, replaced)
    found = setting.aws.image(first.image_id)
    assert tags_of(found)["replaced_by"] == second.image_id
    hidden = datetime.fromisoformat(found["DeprecationTime"])
    assert timedelta() < hidden - datetime.now(UTC) <= DEPRECATION_DELAY
    again.run(again.amis.drop_amis, DropBakedAmis(regions=[REGION], keep=[second.image_id]))
    sweep = SweepBakes(regions=[REGION], keep=[f"bake/{setting.bake.bake_key}"])
    assert setting.run(setting.amis.sweep_cloud, sweep) == []
    # As if the days had passed: EC2 takes no deprecation in the past.
    setting.amis.replaced_stay = -2 * DEPRECATION_DELAY
    running = setting.aws.client("ec2").run_instances(
        ImageId=first.image_id, MinCount=1, MaxCount=1
    )["Instances"][0]["InstanceId"]
    assert setting.run(setting.amis.sweep_cloud, sweep) == []
    setting.aws.client("ec2").terminate_instances(InstanceIds=[running])
    gone = [f"image {first.image_id} in {REGION}"]
    trial = sweep.model_copy(update={"dry_run": True})
    assert setting.run(setting.amis.sweep_cloud, trial) == gone
    assert setting.run(setting.amis.sweep_cloud, sweep) == gone
    base = setting.bake.base.amis[0].snapshot_id
    assert setting.aws.snapshot_ids() == sorted([base, second.snapshot_id])


def test_new_metadata_of_the_same_bytes_is_an_update_of_tags(setting: Setting) -> None:
    ami = setting.register(setting.upload())
    facts = VmFacts("bake/1", setting.bake.base.amis[0])
    before = vm_tags(setting.bake, facts)
    build = {"number": "13", "commit": "feed"}
    spec = setting.bake.spec.model_validate(
        {**setting.bake.spec.model_dump(), "build": build, "owner": ""}
    )
    after = vm_tags(setting.bake.model_copy(update={"spec": spec}), facts)
    theirs = {"Key": "by-hand", "Value": "kept"}
    setting.aws.client("ec2").create_tags(Resources=[ami.image_id], Tags=[theirs])
    request = RetagAmis(amis=[ami], tags=after, before=before)
    setting.run(setting.amis.retag_amis, request)
    setting.run(setting.amis.retag_amis, request)
    found = tags_of(setting.aws.image(ami.image_id))
    assert found == {**after, "by-hand": "kept"}
    assert found["appversion"] == "hello-1.0.0-h13.feed"
    assert "owner" not in found
    assert tags_of(setting.aws.snapshot(ami.snapshot_id)) == after


def test_an_ami_is_copied_and_shared(setting: Setting) -> None:
    ami = setting.register(setting.upload())
    copy = setting.run(setting.amis.copy_ami, CopyAmi(source=ami, region=COPY_REGION))
    assert setting.run(setting.amis.copy_ami, CopyAmi(source=ami, region=COPY_REGION)) == copy
    there = setting.aws.image(copy.image_id, COPY_REGION)
    assert tags_of(there) == tags_of(setting.aws.image(ami.image_id))
    spec = BakeAmiSpec(regions=[REGION], accounts=["999999999999"], deprecate_after_days=1)
    now = datetime.now(UTC)
    setting.run(setting.amis.share_ami, ShareAmi(ami=copy, spec=spec, released_at=now))
    permissions = setting.aws.client("ec2", COPY_REGION).describe_image_attribute(
        ImageId=copy.image_id, Attribute="launchPermission"
    )["LaunchPermissions"]
    assert permissions == [{"UserId": "999999999999"}]
    assert ACCOUNT not in str(permissions)


def test_a_copy_that_nobody_waits_for_goes_and_a_strangers_image_stays(setting: Setting) -> None:
    ami = setting.register(setting.upload())
    copied = setting.run(setting.amis.copy_ami, CopyAmi(source=ami, region=COPY_REGION))
    ec2 = setting.aws.client("ec2", COPY_REGION)
    volume = ec2.create_volume(AvailabilityZone=f"{COPY_REGION}a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}
    strange = ec2.register_image(Name="another", BlockDeviceMappings=[disk])["ImageId"]
    setting.run(setting.amis.drop_copy, CopyAmi(source=ami, region=COPY_REGION))
    renamed = ami.model_copy(update={"name": "another"})
    setting.run(setting.amis.drop_copy, CopyAmi(source=renamed, region=COPY_REGION))
    left = [one["ImageId"] for one in ec2.describe_images(Owners=["self"])["Images"]]
    assert (copied.image_id in left, strange in left) == (False, True)


def test_a_bake_that_came_to_nothing_leaves_what_an_earlier_one_made(setting: Setting) -> None:
    ami = setting.register(setting.upload())
    workflow = {"Key": "fleetwide:workflow-id", "Value": f"bake/{setting.bake.bake_key}"}
    ec2 = setting.aws.client("ec2")
    seed = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    tags = [{"ResourceType": "snapshot", "Tags": [workflow]}]
    ec2.create_snapshot(VolumeId=seed, TagSpecifications=tags)
    base = setting.bake.base.amis[0].snapshot_id
    keeping = DropBakedAmis(regions=[REGION, COPY_REGION], keep=[ami.image_id])
    setting.run(setting.amis.drop_amis, keeping)
    assert setting.aws.snapshot_ids() == sorted([base, ami.snapshot_id])
    setting.run(setting.amis.drop_amis, DropBakedAmis(regions=[REGION]))
    assert setting.aws.snapshot_ids() == [base]
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_a_dropped_upload_leaves_no_snapshot(setting: Setting) -> None:
    snapshot = setting.upload()
    setting.run(setting.uploads.drop_upload, setting.bake)
    setting.run(setting.uploads.drop_upload, setting.bake)
    assert snapshot.snapshot_id not in setting.aws.snapshot_ids()


def test_the_sweeper_takes_what_no_bake_owns(setting: Setting) -> None:
    ami = setting.register(setting.upload())
    mine = f"bake/{setting.bake.bake_key}"
    assert setting.run(setting.amis.sweep_cloud, SweepBakes(regions=[REGION], keep=[mine])) == []
    swept = setting.run(setting.amis.sweep_cloud, SweepBakes(regions=[REGION], keep=[]))
    assert swept == [
        f"image {ami.image_id} in {REGION}",
        f"snapshot {ami.snapshot_id} in {REGION}",
    ]
    assert setting.aws.snapshot_ids() == [setting.bake.base.amis[0].snapshot_id]

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetwide.baseos.amis import BUILD_KEY_TAG, WORKFLOW_TAG
from fleetwide.errors import CloudUnavailable, Conflict, InvalidInput, NotFound
from fleetwide.models.baseos import Architecture, BootMode
from fleetwide.models.os_releases import AmiImage
from fleetwide.providers.cloud import Patience
from fleetwide.providers.ebs_snapshots import SnapshotRequest, delete_snapshot, upload_snapshot
from fleetwide.providers.ec2_images import (
    ImageRequest,
    copy_image,
    is_visible,
    register_image,
    set_deprecation,
    set_launch_permissions,
)
from fleetwide.providers.ec2_retirement import (
    Leftover,
    deregister_image,
    find_leftovers,
    instances_using,
)
from fleetwide.providers.progress import no_progress
from tests.aws import COPY_REGION, REGION, Aws

pytestmark = pytest.mark.integration

TAGS = {"Name": "baseos-1", WORKFLOW_TAG: "os/baseos/1", BUILD_KEY_TAG: "sha256:key"}
ORGANIZATION = "arn:aws:organizations::123456789012:organization/o-abc"
UNIT = "arn:aws:organizations::123456789012:ou/o-abc/ou-def"


def snapshot_of(aws: Aws, folder: Path) -> str:
    disk = folder / "disk.raw"
    disk.write_bytes(b"boot")
    request = SnapshotRequest(disk, folder / "journal", REGION, "a disk", TAGS)
    return upload_snapshot(aws.cloud(), request, no_progress).snapshot_id


def request_of(snapshot_id: str, key: str = "sha256:key") -> ImageRequest:
    return ImageRequest(
        region=REGION,
        name="baseos-1-x86_64-uefi",
        description="baseos 1",
        architecture=Architecture.AMD64,
        boot=BootMode.UEFI,
        snapshot_id=snapshot_id,
        tags={**TAGS, BUILD_KEY_TAG: key},
    )


@pytest.fixture
def any_ami(any_aws: Aws, tmp_path: Path) -> AmiImage:
    request = request_of(snapshot_of(any_aws, tmp_path))
    return register_image(any_aws.cloud(), request, no_progress)


@pytest.fixture
def ami(aws: Aws, tmp_path: Path) -> AmiImage:
    return register_image(aws.cloud(), request_of(snapshot_of(aws, tmp_path)), no_progress)


def tags_of(thing: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing["Tags"]}


def test_an_image_is_registered_as_it_was_asked_for(aws: Aws, ami: AmiImage) -> None:
    image = aws.image(ami.image_id)
    disk = image["BlockDeviceMappings"][0]
    assert disk["DeviceName"] == image["RootDeviceName"] == "/dev/xvda"
    assert disk["Ebs"]["SnapshotId"] == ami.snapshot_id
    assert (disk["Ebs"]["VolumeType"], disk["Ebs"]["DeleteOnTermination"]) == ("gp3", True)
    assert (image["Architecture"], image["VirtualizationType"]) == ("x86_64", "hvm")
    assert (image["BootMode"], image["ImdsSupport"], image["EnaSupport"]) == ("uefi", "v2.0", True)
    assert tags_of(image) == tags_of(aws.snapshot(ami.snapshot_id)) == TAGS


def test_an_image_is_registered_once(any_aws: Aws, any_ami: AmiImage) -> None:
    assert tags_of(any_aws.image(any_ami.image_id)) == TAGS
    again = register_image(any_aws.cloud(), request_of(any_ami.snapshot_id), no_progress)
    assert again.image_id == any_ami.image_id


def test_a_name_that_is_taken(any_aws: Aws, any_ami: AmiImage) -> None:
    with pytest.raises(Conflict, match=any_ami.image_id):
        request = request_of(any_ami.snapshot_id, "sha256:other")
        register_image(any_aws.cloud(), request, no_progress)


def test_a_snapshot_that_is_not_there(aws: Aws) -> None:
    with pytest.raises(NotFound, match="RegisterImage"):
        register_image(aws.cloud(), request_of("snap-0123456789abcdef0"), no_progress)


def test_a_copy_carries_the_tags_also_on_its_snapshot(any_aws: Aws, any_ami: AmiImage) -> None:
    copy = copy_image(any_aws.cloud(), any_ami, COPY_REGION, no_progress)
    assert (copy.region, copy.name) == (COPY_REGION, any_ami.name)
    assert tags_of(any_aws.image(copy.image_id, COPY_REGION)) == TAGS
    assert tags_of(any_aws.snapshot(copy.snapshot_id, COPY_REGION)) == TAGS
    assert copy_image(any_aws.cloud(), any_ami, COPY_REGION, no_progress) == copy


def test_a_copy_that_failed_is_made_anew(aws: Aws, ami: AmiImage) -> None:
    failed = copy_image(aws.cloud(), ami, COPY_REGION, no_progress)
    aws.set_image_state(failed.image_id, "failed", COPY_REGION)
    copy = copy_image(aws.cloud(), ami, COPY_REGION, no_progress)
    assert copy.image_id != failed.image_id
    assert is_visible(aws.cloud(), COPY_REGION, copy.image_id)
    assert not is_visible(aws.cloud(), COPY_REGION, failed.image_id)


def test_a_copy_of_what_is_gone(any_aws: Aws, any_ami: AmiImage) -> None:
    deregister_image(any_aws.cloud(), any_ami)
    with pytest.raises(NotFound, match=any_ami.image_id):
        copy_image(any_aws.cloud(), any_ami, COPY_REGION, no_progress)


def test_an_image_is_waited_for(aws: Aws, ami: AmiImage) -> None:
    aws.set_image_state(ami.image_id, "pending")

    def finish(_phrase: str, _fraction: float | None) -> None:
        aws.set_image_state(ami.image_id, "available")

    patience = Patience(seconds=5, poll_seconds=0.05)
    assert register_image(aws.cloud(), request_of(ami.snapshot_id), finish, patience) == ami


def test_an_image_that_ends_badly(aws: Aws, ami: AmiImage) -> None:
    aws.set_image_state(ami.image_id, "pending")

    def fail(_phrase: str, _fraction: float | None) -> None:
        aws.set_image_state(ami.image_id, "error")

    patience = Patience(seconds=5, poll_seconds=0.05)
    with pytest.raises(CloudUnavailable, match="ended as error"):
        register_image(aws.cloud(), request_of(ami.snapshot_id), fail, patience)


def test_exactly_these_may_launch(any_aws: Aws, any_ami: AmiImage) -> None:
    cloud = any_aws.cloud()

    def set_to(accounts: list[str], organizations: list[str]) -> list[dict[str, str]]:
        set_launch_permissions(cloud, REGION, any_ami.image_id, accounts, organizations)
        answer = any_aws.client("ec2").describe_image_attribute(
            ImageId=any_ami.image_id, Attribute="launchPermission"
        )
        return sorted(answer["LaunchPermissions"], key=str)

    one, two, three = ("111111111111", "222222222222", "333333333333")
    assert set_to([one, two], [ORGANIZATION]) == [
        {"OrganizationArn": ORGANIZATION},
        {"UserId": one},
        {"UserId": two},
    ]
    assert set_to([two, three], [UNIT]) == [
        {"OrganizationalUnitArn": UNIT},
        {"UserId": two},
        {"UserId": three},
    ]
    assert set_to([], []) == []


def test_an_account_that_is_none(aws: Aws, ami: AmiImage) -> None:
    with pytest.raises(InvalidInput, match="ModifyImageAttribute"):
        set_launch_permissions(aws.cloud(), REGION, ami.image_id, ["123"], [])


def test_deprecation_comes_and_goes(aws: Aws, ami: AmiImage) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    set_deprecation(aws.cloud(), REGION, ami.image_id, at)
    assert datetime.fromisoformat(aws.image(ami.image_id)["DeprecationTime"]) == at
    set_deprecation(aws.cloud(), REGION, ami.image_id, None)
    assert "DeprecationTime" not in aws.image(ami.image_id)


def test_removing_an_image_takes_its_snapshot_along(any_aws: Aws, any_ami: AmiImage) -> None:
    assert is_visible(any_aws.cloud(), REGION, any_ami.image_id)
    for _ in range(2):
        deregister_image(any_aws.cloud(), any_ami)
        assert not is_visible(any_aws.cloud(), REGION, any_ami.image_id)
        assert any_aws.snapshot_ids() == []


def test_a_snapshot_in_use_stays(aws: Aws, ami: AmiImage) -> None:
    with pytest.raises(Conflict, match=ami.image_id):
        delete_snapshot(aws.cloud(), REGION, ami.snapshot_id)


def test_an_image_that_never_was(any_aws: Aws) -> None:
    never = AmiImage(region=REGION, image_id="ami-0123456789abcdef0", snapshot_id="")
    assert not is_visible(any_aws.cloud(), REGION, never.image_id)
    deregister_image(any_aws.cloud(), never)


def test_instances_that_use_an_image(any_aws: Aws, any_ami: AmiImage) -> None:
    ec2, cloud = any_aws.client("ec2"), any_aws.cloud()
    assert instances_using(cloud, REGION, any_ami.image_id) == []
    started = ec2.run_instances(ImageId=any_ami.image_id, MinCount=2, MaxCount=2)["Instances"]
    first, second = (instance["InstanceId"] for instance in started)
    assert instances_using(cloud, REGION, any_ami.image_id) == sorted([first, second])
    ec2.terminate_instances(InstanceIds=[first])
    assert instances_using(cloud, REGION, any_ami.image_id) == [second]


def test_what_workflows_left_behind_is_found(aws: Aws, ami: AmiImage) -> None:
    aws.client("ec2").create_snapshot(VolumeId=_volume(aws), Description="somebody else's")
    workflow = TAGS[WORKFLOW_TAG]
    assert find_leftovers(aws.cloud(), REGION) == [
        Leftover("image", REGION, ami.image_id, workflow, "available"),
        Leftover("snapshot", REGION, ami.snapshot_id, workflow, "completed"),
    ]
    assert find_leftovers(aws.cloud(), COPY_REGION) == []


def _volume(aws: Aws) -> str:
    volume = aws.client("ec2").create_volume(Size=1, AvailabilityZone=f"{REGION}a")
    return str(volume["VolumeId"])

"""The aminator path: EC2's side by moto, the disk's side by a real mount of a real disk.

A file in a folder stands for the device: it appears when moto attaches the volume.
"""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError
from moto.ec2.models.elastic_block_store import EBSBackend

from fleetwide.baseos.amis import WORKFLOW_TAG
from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from fleetwide.errors import CloudUnavailable, InvalidInput, NotFound, PlatformError
from fleetwide.models.os_releases import AmiImage
from fleetwide.providers.baked_disks import RAW, DiskBake, bake_disk
from fleetwide.providers.cloud import Patience
from fleetwide.providers.ec2_instance import Instance, this_instance
from fleetwide.providers.ec2_retirement import find_leftovers, remove_leftovers
from fleetwide.providers.ec2_volumes import LETTERS, Devices, Workplace
from fleetwide.providers.payloads import Payload
from fleetwide.providers.progress import no_progress
from fleetwide.providers.volume_bakes import VolumeBaker, disk_baker
from fleetwide.settings import Settings
from tests.aws import COPY_REGION, REGION, Aws, running_aws
from tests.integration.vm_bakes.conftest import (
    Base,
    bake_on,
    deletion,
    disk_bake,
    staged,
    unpacked,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WORKFLOW = "bake/1"
ZONE = f"{REGION}a"
WORK = [
    *("CreateVolume", "AttachVolume", "DetachVolume", "CreateSnapshot", "DeleteSnapshot"),
    "DeleteVolume",
]


class Cancelled(Exception):
    pass


@dataclass
class Ec2:
    """An account with the base's snapshot and this instance, and what was asked of it."""

    aws: Aws
    place: Workplace
    snapshot_id: str
    calls: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    @property
    def client(self) -> Any:
        return self.aws.client("ec2")

    def baker(self) -> VolumeBaker:
        return VolumeBaker(self.place, WORKFLOW, "run-1")

    def request(self, base: Base, folder: Path, payload: Payload) -> DiskBake:
        bake = bake_on(base)
        ami = AmiImage(region=REGION, image_id="ami-1", snapshot_id=self.snapshot_id, name="base")
        on = bake.base.model_copy(update={"amis": [ami]})
        return disk_bake(base, bake.model_copy(update={"base": on}), folder, payload)

    def volumes(self) -> list[str]:
        """All but those that came with the test."""
        return [one["VolumeId"] for one in self.client.describe_volumes()["Volumes"]]

    def assert_clean(self, snapshots: list[str], volumes: list[str]) -> None:
        assert self.aws.snapshot_ids() == snapshots
        assert self.volumes() == volumes
        assert list((self.place.devices.folder / "disk/by-id").iterdir()) == []


@pytest.fixture
def ec2(base: Base, tmp_path: Path) -> Iterator[Ec2]:
    devices = Devices(tmp_path / "dev", tmp_path / "devices.lock")
    (devices.folder / "disk/by-id").mkdir(parents=True)
    with running_aws(like_aws=True) as aws:
        client = aws.client("ec2")
        started = client.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
        instance = Instance(started["Instances"][0]["InstanceId"], REGION, ZONE)
        seed = client.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
        snapshot = client.create_snapshot(VolumeId=seed)["SnapshotId"]
        quick = Patience(seconds=5, poll_seconds=0.05)
        made = Ec2(aws, Workplace(aws.cloud(), instance, devices, quick), snapshot)
        watch(made)
        # Only now: the instance has a volume of its own.
        with plugged(devices.folder, base.raw):
            yield made


@dataclass(frozen=True)
class plugged:  # noqa: N801 - reads as the fixture's words
    """The kernel's part of attaching: a device with the snapshot's bytes comes and goes."""

    folder: Path
    raw: Path

    def __enter__(self) -> None:
        attach, detach = EBSBackend.attach_volume, EBSBackend.detach_volume

        def link(volume_id: str) -> Path:
            name = f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
            return self.folder / "disk/by-id" / name

        def attached(backend: Any, volume_id: str, *more: Any, **named: Any) -> Any:
            answer = attach(backend, volume_id, *more, **named)
            shutil.copyfile(self.raw, link(volume_id))
            return answer

        def detached(backend: Any, volume_id: str, *more: Any, **named: Any) -> Any:
            link(volume_id).unlink(missing_ok=True)
            return detach(backend, volume_id, *more, **named)

        self._patches.extend(
            [
                patch.object(EBSBackend, "attach_volume", attached),
                patch.object(EBSBackend, "detach_volume", detached),
            ]
        )
        for one in self._patches:
            one.start()

    _patches: list[Any] = field(default_factory=list)

    def __exit__(self, *_: object) -> None:
        for one in self._patches:
            one.stop()


def watch(ec2: Ec2) -> None:
    """Note each call that changes something, and refuse those that the test says."""

    def before(model: Any, **_: Any) -> None:
        if model.name in WORK:
            ec2.calls.append(model.name)
        if model.name in ec2.refused:
            raise ClientError({"Error": {"Code": "InternalError"}}, model.name)

    ec2.place.ec2.meta.events.register("before-call.ec2", before)


def cancel_at(phrase: str) -> Callable[[str, float | None], None]:
    def progress(told: str, _fraction: float | None) -> None:
        if phrase in told:
            raise Cancelled

    return progress


def tags_of(thing: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing["Tags"]}


def test_a_bake_on_a_volume_leaves_a_snapshot_and_no_volume(
    ec2: Ec2, base: Base, tmp_path: Path
) -> None:
    entries = [*staged(tmp_path / "staging"), deletion("opt/.wh.old"), deletion("srv/.wh.two")]
    entries.append(deletion("opt/kept/.wh..wh..opq"))
    volumes = ec2.volumes()
    seen: dict[str, str] = {}

    def progress(phrase: str, _fraction: float | None) -> None:
        if phrase == "writing the artifacts" and not seen:
            [working] = set(ec2.volumes()) - set(volumes)
            seen.update(tags_of(ec2.client.describe_volumes(VolumeIds=[working])["Volumes"][0]))

    request = ec2.request(base, tmp_path, Payload(entries))
    baked = ec2.baker().bake_disk(request, progress)
    assert ec2.calls == [*WORK[:4], "DeleteVolume"]
    assert baked.snapshot is not None
    assert baked.snapshot.sent_blocks * BLOCK_BYTES == baked.changed_bytes > 0
    assert (seen["purpose"], seen["status"], seen[WORKFLOW_TAG]) == ("bake", "busy", WORKFLOW)
    tags = tags_of(ec2.aws.snapshot(baked.snapshot.snapshot_id))
    assert (tags["bake_key"], tags[WORKFLOW_TAG]) == (request.bake.bake_key, WORKFLOW)
    assert "status" not in tags
    ec2.assert_clean(sorted([ec2.snapshot_id, baked.snapshot.snapshot_id]), volumes)


def test_both_ways_put_the_same_files_on_the_disk(ec2: Ec2, base: Base, tmp_path: Path) -> None:
    entries = [*staged(tmp_path / "staging"), deletion("opt/.wh.old")]
    entries.append(deletion("opt/kept/.wh..wh..opq"))
    trees = []
    for name, baker in (("file", bake_disk), ("volume", ec2.baker().bake_disk)):
        request = ec2.request(base, tmp_path / name, Payload(entries, {"hello": "1.0"}))
        assert baker(request, no_progress).packages == {"hello": "1.0"}
        trees.append(unpacked(base, request.workdir / RAW, tmp_path / name / "trees"))
    found = [
        {
            str(path.relative_to(tree)): (
                path.lstat().st_mode,
                path.lstat().st_uid,
                path.lstat().st_gid,
                path.lstat().st_nlink if path.is_file() else 0,
                path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
            )
            for path in tree.rglob("*")
        }
        for tree in trees
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("refused", ["CreateVolume", "AttachVolume", "CreateSnapshot"])
def test_a_refused_step_takes_the_ones_before_back(
    refused: str, ec2: Ec2, base: Base, tmp_path: Path
) -> None:
    before = ec2.aws.snapshot_ids(), ec2.volumes()
    ec2.refused.add(refused)
    with pytest.raises(CloudUnavailable, match=f"EC2 refused {refused}"):
        ec2.baker().bake_disk(ec2.request(base, tmp_path, Payload([])), no_progress)
    ec2.assert_clean(*before)


@pytest.mark.parametrize(
    "phrase",
    [
        "waiting for the volume to be available",
        "waiting for the volume to be in-use",
        "writing the artifacts",
        "copying the disk",
        "taking the snapshot",
        "comparing the disks",
        "compressing",
    ],
)
def test_a_cancel_in_any_step_leaves_nothing(
    phrase: str, ec2: Ec2, base: Base, tmp_path: Path
) -> None:
    before = ec2.aws.snapshot_ids(), ec2.volumes()
    slow(ec2, phrase)
    with pytest.raises(Cancelled):
        ec2.baker().bake_disk(ec2.request(base, tmp_path, Payload([])), cancel_at(phrase))
    ec2.assert_clean(*before)


def slow(ec2: Ec2, phrase: str) -> None:
    """Moto is done at once with what takes AWS a while: let it say "not yet" the first time."""
    waits = {
        "waiting for the volume to be available": ("DescribeVolumes", "Volumes", "creating"),
        "waiting for the volume to be in-use": ("DescribeVolumes", "Volumes", "creating"),
        "taking the snapshot": ("DescribeSnapshots", "Snapshots", "pending"),
    }
    if phrase not in waits:
        return
    operation, key, state = waits[phrase]
    skipped = iter([phrase.endswith("in-use")])

    def after(parsed: Any, model: Any, **_: Any) -> None:
        if model.name == operation and parsed.get(key) and not next(skipped, False):
            ec2.place.ec2.meta.events.unregister("after-call.ec2", after)
            for one in parsed[key]:
                one["State"] = state

    # The leftovers of an earlier try are listed first, by the same operation.
    def armed(model: Any, **_: Any) -> None:
        if model.name in ("CreateVolume", "CreateSnapshot"):
            ec2.place.ec2.meta.events.register("after-call.ec2", after)

    ec2.place.ec2.meta.events.register("before-call.ec2", armed)


def test_a_device_that_cannot_be_mounted_is_no_leak(ec2: Ec2, base: Base, tmp_path: Path) -> None:
    before = ec2.aws.snapshot_ids(), ec2.volumes()
    other = base.image.model_copy(update={"boot": "uefi"})
    request = ec2.request(base, tmp_path, Payload([]))
    moved = request.bake.base.model_copy(update={"disk": other})
    broken = replace(request, bake=request.bake.model_copy(update={"base": moved}))
    with pytest.raises(PlatformError, match="could not be written to"):
        ec2.baker().bake_disk(broken, no_progress)
    ec2.assert_clean(*before)


def test_what_a_killed_try_left_goes_first_and_images_stay(
    ec2: Ec2, base: Base, tmp_path: Path
) -> None:
    tags = [{"Key": WORKFLOW_TAG, "Value": WORKFLOW}]
    left = ec2.client.create_volume(
        AvailabilityZone=ZONE,
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )["VolumeId"]
    ec2.client.attach_volume(
        VolumeId=left, InstanceId=ec2.place.instance.id, Device=f"/dev/sd{LETTERS[0]}"
    )
    half, used = (
        ec2.client.create_snapshot(
            VolumeId=left, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}]
        )["SnapshotId"]
        for _ in range(2)
    )
    image = register(ec2, used, tags)
    baked = ec2.baker().bake_disk(ec2.request(base, tmp_path, Payload([])), no_progress)
    assert baked.snapshot is not None
    snapshots = ec2.aws.snapshot_ids()
    assert half not in snapshots
    assert snapshots == sorted([ec2.snapshot_id, used, baked.snapshot.snapshot_id])
    assert left not in ec2.volumes()
    assert ec2.aws.image(image)["State"] == "available"


def register(ec2: Ec2, snapshot_id: str, tags: list[dict[str, str]]) -> str:
    answer: str = ec2.client.register_image(
        Name="before",
        Description="",
        Architecture="x86_64",
        VirtualizationType="hvm",
        BootMode="legacy-bios",
        EnaSupport=True,
        ImdsSupport="v2.0",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}],
        TagSpecifications=[{"ResourceType": "image", "Tags": tags}],
    )["ImageId"]
    return answer


def test_the_sweeper_finds_volumes_by_their_workflow(ec2: Ec2) -> None:
    tags = [{"Key": WORKFLOW_TAG, "Value": WORKFLOW}]
    left = ec2.client.create_volume(
        AvailabilityZone=ZONE,
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )["VolumeId"]
    found = find_leftovers(ec2.place.cloud, REGION)
    assert [(one.kind, one.id, one.workflow_id) for one in found] == [("volume", left, WORKFLOW)]
    remove_leftovers(ec2.place.cloud, REGION, WORKFLOW, no_progress)
    remove_leftovers(ec2.place.cloud, REGION, WORKFLOW, no_progress)
    assert left not in ec2.volumes()


def test_letters_that_are_taken_are_left_alone(ec2: Ec2, base: Base, tmp_path: Path) -> None:
    taken = LETTERS[:2]
    for letter in taken:
        other = ec2.client.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
        ec2.client.attach_volume(
            VolumeId=other, InstanceId=ec2.place.instance.id, Device=f"/dev/sd{letter}"
        )
    (ec2.place.devices.folder / f"xvd{LETTERS[2]}").touch()
    devices: list[str] = []

    def progress(phrase: str, _fraction: float | None) -> None:
        if phrase == "writing the artifacts":
            found = ec2.client.describe_volumes()["Volumes"]
            devices.extend(one["Device"] for volume in found for one in volume["Attachments"])

    ec2.baker().bake_disk(ec2.request(base, tmp_path, Payload([])), progress)
    assert f"/dev/sd{LETTERS[3]}" in devices


def test_an_instance_without_a_free_letter_says_so(ec2: Ec2, base: Base, tmp_path: Path) -> None:
    before = ec2.aws.snapshot_ids(), ec2.volumes()
    for letter in LETTERS:
        (ec2.place.devices.folder / f"sd{letter}").touch()
    with pytest.raises(PlatformError, match="no device letter is free"):
        ec2.baker().bake_disk(ec2.request(base, tmp_path, Payload([])), no_progress)
    ec2.assert_clean(*before)


def test_a_base_without_an_ami_here_is_the_requests_matter(
    ec2: Ec2, base: Base, tmp_path: Path
) -> None:
    request = disk_bake(base, bake_on(base), tmp_path, Payload([]))
    with pytest.raises(InvalidInput, match=f"has no AMI in {REGION}"):
        ec2.baker().bake_disk(request, no_progress)
    assert ec2.calls == []


def test_a_builder_serves_its_own_region_only(ec2: Ec2, base: Base, tmp_path: Path) -> None:
    bake = bake_on(base, ami={"regions": [COPY_REGION, REGION]})
    with pytest.raises(InvalidInput, match=rf"ami\.regions: this builder .* in {REGION}"):
        ec2.baker().bake_disk(disk_bake(base, bake, tmp_path, Payload([])), no_progress)
    assert ec2.calls == []


def test_a_base_snapshot_that_is_gone_is_told(ec2: Ec2, base: Base, tmp_path: Path) -> None:
    request = ec2.request(base, tmp_path, Payload([]))
    ec2.client.delete_snapshot(SnapshotId=ec2.snapshot_id)
    with pytest.raises(NotFound, match="CreateVolume"):
        ec2.baker().bake_disk(request, no_progress)


def test_the_setting_says_how_vms_are_baked(ec2: Ec2) -> None:
    assert disk_baker(Settings(), ec2.place.cloud, WORKFLOW, "run-1") is bake_disk


def test_the_instance_tells_who_it_is() -> None:
    document = {"instanceId": "i-1", "region": REGION, "availabilityZone": ZONE}
    with metadata(json.dumps(document)) as url:
        assert this_instance(url) == Instance("i-1", REGION, ZONE)


@pytest.mark.parametrize("document", ["", "[]", '{"region": "eu-west-1"}'])
def test_a_machine_outside_ec2_cannot_bake_on_volumes(document: str) -> None:
    with (
        metadata(document) as url,
        pytest.raises(PlatformError, match="is no EC2 instance") as caught,
    ):
        this_instance(url)
    assert caught.value.hint is not None
    assert "FLEETWIDE_VM_BAKE=disk" in caught.value.hint


class metadata:  # noqa: N801 - reads as the fixture's words
    """The metadata service of an instance: a token first, then the document."""

    def __init__(self, document: str) -> None:
        class Service(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.answer("token", self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60")

            def do_GET(self) -> None:
                self.answer(document, self.headers["X-aws-ec2-metadata-token"] == "token")

            def answer(self, text: str, allowed: bool) -> None:
                self.send_response(200 if allowed else 401)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Service)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

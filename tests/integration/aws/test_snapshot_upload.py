import hashlib
import random
from pathlib import Path

import pytest

from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES, decode_manifest, encode_manifest
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.providers.ebs_snapshots import (
    ParentSnapshot,
    SnapshotRequest,
    UploadedSnapshot,
    delete_snapshot,
    drop_upload,
    upload_snapshot,
)
from fleetwide.providers.progress import no_progress
from tests.aws import REGION, Aws
from tests.integration.aws.conftest import WriteDisk

pytestmark = pytest.mark.integration

GIB = 1024**3
TAGS = {"Name": "baseos-1", "fleetwide:workflow-id": "os/baseos/1"}


def noise(seed: int, size: int = BLOCK_BYTES) -> bytes:
    return random.Random(seed).randbytes(size)


def upload(
    aws: Aws, disk: Path, parent: UploadedSnapshot | None = None, region: str = REGION
) -> UploadedSnapshot:
    request = SnapshotRequest(
        disk=disk,
        journal=disk.with_suffix(".journal"),
        region=region,
        description="a disk",
        tags=TAGS,
        parent=ParentSnapshot(parent.snapshot_id, parent.manifest) if parent else None,
    )
    return upload_snapshot(aws.cloud(), request, no_progress)


def test_a_sparse_disk_arrives_and_its_holes_are_not_sent(
    any_aws: Aws, write_disk: WriteDisk
) -> None:
    content = {0: noise(0), 7: noise(7), 8: b"x", 2047: bytes(BLOCK_BYTES)}
    uploaded = upload(any_aws, write_disk(content, GIB + 1))
    arrived = any_aws.blocks(uploaded.snapshot_id)
    assert arrived == {0: noise(0), 7: noise(7), 8: b"x".ljust(BLOCK_BYTES, b"\0")}
    assert uploaded.sent_blocks == 3
    snapshot = any_aws.snapshot(uploaded.snapshot_id)
    assert (snapshot["State"], snapshot["VolumeSize"]) == ("completed", 2)
    assert {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} == TAGS
    assert uploaded.manifest.blocks[7] == hashlib.sha256(noise(7)).hexdigest()


def test_the_last_part_of_a_block_is_padded(any_aws: Aws, write_disk: WriteDisk) -> None:
    uploaded = upload(any_aws, write_disk({3: b"end"}, 3 * BLOCK_BYTES + 3))
    assert any_aws.blocks(uploaded.snapshot_id) == {3: b"end".ljust(BLOCK_BYTES, b"\0")}


def test_a_disk_of_zeros_is_an_empty_snapshot(any_aws: Aws, write_disk: WriteDisk) -> None:
    uploaded = upload(any_aws, write_disk({1: bytes(BLOCK_BYTES)}, 4 * BLOCK_BYTES))
    assert uploaded.sent_blocks == 0
    assert any_aws.blocks(uploaded.snapshot_id) == {}
    assert any_aws.traffic.asked == []


def test_a_child_sends_only_what_changed(aws: Aws, write_disk: WriteDisk) -> None:
    base = upload(aws, write_disk({0: noise(0), 1: noise(1), 2: noise(2)}, GIB))
    kept = decode_manifest(encode_manifest(base.manifest))
    aws.traffic.asked.clear()
    disk = write_disk({0: noise(0), 2: noise(22), 9: noise(9)}, GIB)
    child = upload(aws, disk, UploadedSnapshot(base.snapshot_id, kept, 3))
    assert sorted(aws.traffic.asked) == [1, 2, 9]
    arrived = aws.blocks(child.snapshot_id)
    assert arrived.pop(1) == bytes(BLOCK_BYTES)
    assert arrived == {0: noise(0), 2: noise(22), 9: noise(9)}


def test_a_child_without_changes_sends_nothing(aws: Aws, write_disk: WriteDisk) -> None:
    base = upload(aws, write_disk({0: noise(0)}, GIB))
    child = upload(aws, write_disk({0: noise(0)}, GIB), base)
    assert child.sent_blocks == 0
    assert aws.blocks(child.snapshot_id) == aws.blocks(base.snapshot_id)


def test_a_parent_that_is_gone_or_too_large(aws: Aws, write_disk: WriteDisk) -> None:
    base = upload(aws, write_disk({0: noise(0)}, 2 * GIB))
    with pytest.raises(InvalidInput, match="2 GiB"):
        upload(aws, write_disk({0: noise(1)}, GIB), base)
    delete_snapshot(aws.cloud(), REGION, base.snapshot_id)
    with pytest.raises(NotFound, match=base.snapshot_id):
        upload(aws, write_disk({0: noise(1)}, 2 * GIB), base)
    assert aws.snapshot_ids() == []


def test_the_same_upload_again_answers_the_same_snapshot(
    any_aws: Aws, write_disk: WriteDisk
) -> None:
    disk = write_disk({0: noise(0), 5: noise(5)}, GIB)
    first = upload(any_aws, disk)
    assert upload(any_aws, disk) == first
    assert any_aws.snapshot_ids() == [first.snapshot_id]
    assert sorted(any_aws.traffic.asked) == [0, 5]


def test_another_disk_in_the_same_place_is_another_upload(aws: Aws, write_disk: WriteDisk) -> None:
    disk = write_disk({0: noise(0)}, GIB)
    first = upload(aws, disk)
    disk.write_bytes(noise(1))
    second = upload(aws, disk)
    assert second.snapshot_id != first.snapshot_id
    assert aws.blocks(second.snapshot_id) == {0: noise(1)}


def test_dropping_an_upload_deletes_its_snapshot(any_aws: Aws, write_disk: WriteDisk) -> None:
    disk = write_disk({0: noise(0)}, GIB)
    upload(any_aws, disk)
    journal = disk.with_suffix(".journal")
    for _ in range(2):
        drop_upload(any_aws.cloud(), REGION, journal)
        assert any_aws.snapshot_ids() == []
        assert not journal.exists()


def test_what_is_no_disk_is_refused(aws: Aws, tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    empty.touch()
    for path in (empty, tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidInput, match="disk"):
            upload(aws, path)

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from fleetwide.errors import CloudUnavailable
from fleetwide.providers.cloud import Cloud, Patience, Retries
from fleetwide.providers.ebs_snapshots import (
    SnapshotRequest,
    UploadLimits,
    delete_snapshot,
    drop_upload,
    upload_snapshot,
)
from fleetwide.providers.progress import no_progress
from fleetwide.settings import Settings
from tests.aws import REGION, Aws
from tests.aws_like import EbsRefusal
from tests.integration.aws.conftest import WriteDisk
from tests.platforms import eventually

pytestmark = pytest.mark.integration

IN_FLIGHT = 4
BLOCKS = 24
QUICK = UploadLimits(
    retries=Retries(attempts=6, first_wait_seconds=0.01, longest_wait_seconds=0.05),
    completion=Patience(seconds=5, poll_seconds=0.05),
)
# What a worker does, in a process of its own that a test can kill.
UPLOADER = """
import sys
from pathlib import Path
from fleetwide.providers.cloud import Cloud
from fleetwide.providers.ebs_snapshots import SnapshotRequest, upload_snapshot
from fleetwide.providers.progress import no_progress
from fleetwide.settings import Settings

url, disk, region, in_flight = sys.argv[1:]
cloud = Cloud(Settings(aws_endpoint_url=url), int(in_flight))
request = SnapshotRequest(Path(disk), Path(disk + ".journal"), region, "a disk", {"a": "b"})
upload_snapshot(cloud, request, no_progress)
"""


class Cancelled(Exception):
    pass


def throttle(_index: int) -> None:
    raise EbsRefusal("RequestThrottledException", "not now")


def request_of(disk: Path) -> SnapshotRequest:
    return SnapshotRequest(disk, Path(f"{disk}.journal"), REGION, "a disk", {"a": "b"})


@pytest.fixture
def disk(write_disk: WriteDisk) -> Path:
    content = {index: random.Random(index).randbytes(BLOCK_BYTES) for index in range(BLOCKS)}
    return write_disk(content, 1024**3)


def content_of(disk: Path) -> dict[int, bytes]:
    with disk.open("rb") as file:
        return {index: file.read(BLOCK_BYTES) for index in range(BLOCKS)}


def test_after_a_kill_only_what_was_under_way_is_sent_again(any_aws: Aws, disk: Path) -> None:
    released = threading.Event()

    def hold_after_ten(_index: int) -> None:
        if len(any_aws.traffic.asked) > 10:
            released.wait(60)

    any_aws.traffic.before = hold_after_ten
    arguments = [any_aws.url, str(disk), REGION, str(IN_FLIGHT)]
    with subprocess.Popen([sys.executable, "-c", UPLOADER, *arguments], env=os.environ) as worker:
        eventually(lambda: len(any_aws.traffic.asked) == 10 + IN_FLIGHT, what="10 blocks in")
        journal = Path(f"{disk}.journal")
        eventually(lambda: len(journal.read_text().splitlines()) == 2 + 10, what="10 noted")
        worker.kill()
    released.set()
    eventually(lambda: len(any_aws.traffic.answered) == 10 + IN_FLIGHT, what="held ones through")
    before = any_aws.traffic.asked[:10]
    any_aws.traffic.asked.clear()

    uploaded = upload_snapshot(any_aws.cloud(IN_FLIGHT), request_of(disk), no_progress)

    assert sorted(before + any_aws.traffic.asked) == list(range(BLOCKS))
    assert any_aws.snapshot_ids() == [uploaded.snapshot_id]
    assert any_aws.blocks(uploaded.snapshot_id) == content_of(disk)


@pytest.mark.parametrize(
    "error", ["RequestThrottledException", "InternalServerException", "ResourceNotFoundException"]
)
def test_throttled_and_failing_puts_are_made_again(aws: Aws, disk: Path, error: str) -> None:
    def refuse_some(index: int) -> None:
        if index % 3 == 0 and aws.traffic.asked.count(index) < 3:
            raise EbsRefusal(error, "not now")

    aws.traffic.before = refuse_some
    uploaded = upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    assert aws.blocks(uploaded.snapshot_id) == content_of(disk)
    assert len(aws.traffic.asked) == BLOCKS + 2 * BLOCKS // 3


def test_what_stays_throttled_is_resumed_by_the_next_attempt(aws: Aws, disk: Path) -> None:
    def refuse_one(index: int) -> None:
        if index == 5:
            throttle(index)

    aws.traffic.before = refuse_one
    with pytest.raises(CloudUnavailable, match="RequestThrottled"):
        upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    (snapshot_id,) = aws.snapshot_ids()
    arrived = set(aws.traffic.answered)
    assert arrived
    aws.traffic.before = lambda _index: None
    aws.traffic.asked.clear()
    uploaded = upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    assert uploaded.snapshot_id == snapshot_id
    assert sorted(aws.traffic.asked) == sorted(set(range(BLOCKS)) - arrived)


def test_an_upload_that_failed_can_be_dropped(aws: Aws, disk: Path) -> None:
    aws.traffic.before = throttle
    with pytest.raises(CloudUnavailable):
        upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    drop_upload(aws.cloud(), REGION, Path(f"{disk}.journal"))
    assert aws.snapshot_ids() == []


def test_a_disk_that_changes_meanwhile_is_refused(aws: Aws, disk: Path) -> None:
    def spoil(_phrase: str, fraction: float | None) -> None:
        if fraction == 0.1:  # the disk was read, nothing was sent
            with disk.open("r+b") as file:
                file.write(b"spoilt")

    with pytest.raises(CloudUnavailable, match="ValidationException"):
        upload_snapshot(aws.cloud(), request_of(disk), spoil, QUICK)
    assert aws.traffic.asked.count(0) == 1
    assert aws.snapshot_ids() == []
    assert not Path(f"{disk}.journal").exists()


def test_cancelling_leaves_no_snapshot_and_no_thread(any_aws: Aws, disk: Path) -> None:
    released = threading.Event()

    def hold_after_three(_index: int) -> None:
        if len(any_aws.traffic.asked) > 3:
            released.wait(60)

    def cancel(_phrase: str, _fraction: float | None) -> None:
        if len(any_aws.traffic.asked) > 3:
            released.set()
            raise Cancelled

    any_aws.traffic.before = hold_after_three
    with pytest.raises(Cancelled):
        upload_snapshot(any_aws.cloud(2), request_of(disk), cancel)
    assert len(any_aws.traffic.answered) < BLOCKS
    assert any_aws.snapshot_ids() == []
    assert not Path(f"{disk}.journal").exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("put-snapshot")]


def test_cancelling_while_the_snapshot_starts_leaves_none(aws: Aws, disk: Path) -> None:
    released = threading.Event()
    aws.traffic.started = lambda _snapshot_id: released.wait(60)

    def cancel(phrase: str, _fraction: float | None) -> None:
        if phrase == "starting the snapshot" and aws.snapshot_ids():
            released.set()
            raise Cancelled

    with pytest.raises(Cancelled):
        upload_snapshot(aws.cloud(), request_of(disk), cancel)
    assert aws.snapshot_ids() == []


@pytest.mark.parametrize("state", ["error", None])
def test_a_snapshot_that_is_lost_is_begun_anew(aws: Aws, disk: Path, state: str | None) -> None:
    first = upload_snapshot(aws.cloud(), request_of(disk), no_progress)
    if state:
        aws.set_snapshot_state(first.snapshot_id, state)
    else:
        delete_snapshot(aws.cloud(), REGION, first.snapshot_id)
    second = upload_snapshot(aws.cloud(), request_of(disk), no_progress)
    assert aws.snapshot_ids() == [second.snapshot_id]
    assert aws.blocks(second.snapshot_id) == content_of(disk)


def test_a_crash_between_start_and_journal_costs_no_second_snapshot(aws: Aws, disk: Path) -> None:
    aws.traffic.before = throttle
    with pytest.raises(CloudUnavailable):
        upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    journal = Path(f"{disk}.journal")
    token, snapshot = journal.read_text().splitlines()
    journal.write_text(f"{token}\n{snapshot[:10]}")
    aws.traffic.before = lambda _index: None
    uploaded = upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    assert aws.snapshot_ids() == [uploaded.snapshot_id]
    assert aws.blocks(uploaded.snapshot_id) == content_of(disk)


def test_sealing_is_waited_for(aws: Aws, disk: Path) -> None:
    aws.traffic.sealed = lambda snapshot_id: aws.set_snapshot_state(snapshot_id, "pending")
    phrases = []

    def finish(phrase: str, _fraction: float | None) -> None:
        phrases.append(phrase)
        if phrase == "completing the snapshot":
            aws.set_snapshot_state(aws.snapshot_ids()[0], "completed")

    uploaded = upload_snapshot(aws.cloud(), request_of(disk), finish, QUICK)
    assert aws.snapshot_ids() == [uploaded.snapshot_id]
    assert phrases[-1] == "completing the snapshot"


def test_a_seal_that_takes_too_long_is_waited_for_by_the_next_attempt(aws: Aws, disk: Path) -> None:
    aws.traffic.sealed = lambda snapshot_id: aws.set_snapshot_state(snapshot_id, "pending")
    limits = UploadLimits(completion=Patience(seconds=0.1, poll_seconds=0.05))
    with pytest.raises(CloudUnavailable, match="not over"):
        upload_snapshot(aws.cloud(), request_of(disk), no_progress, limits)
    (snapshot_id,) = aws.snapshot_ids()
    aws.set_snapshot_state(snapshot_id, "completed")
    again = upload_snapshot(aws.cloud(), request_of(disk), no_progress, limits)
    assert again.snapshot_id == snapshot_id
    assert sorted(aws.traffic.asked) == list(range(BLOCKS))


def test_a_snapshot_that_ends_badly_is_deleted(aws: Aws, disk: Path) -> None:
    aws.traffic.sealed = lambda snapshot_id: aws.set_snapshot_state(snapshot_id, "error")
    with pytest.raises(CloudUnavailable, match="ended as error"):
        upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    assert aws.snapshot_ids() == []
    assert not Path(f"{disk}.journal").exists()


def test_a_server_that_is_not_there(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    cloud = Cloud(Settings(aws_endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(CloudUnavailable, match="did not answer in eu-west-1"):
        upload_snapshot(cloud, request_of(disk), no_progress, QUICK)


def test_a_role_without_the_permission(aws: Aws, disk: Path) -> None:
    def deny(_index: int) -> None:
        raise EbsRefusal("AccessDeniedException", "no")

    aws.traffic.before = deny
    with pytest.raises(CloudUnavailable) as caught:
        upload_snapshot(aws.cloud(), request_of(disk), no_progress, QUICK)
    assert "ebs:PutSnapshotBlock" in (caught.value.hint or "")
    assert len(aws.snapshot_ids()) == 1  # the role may get it, and then the upload goes on

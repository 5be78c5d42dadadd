"""Upload raw disks as EBS snapshots through the EBS direct API.

Only blocks that differ from the parent snapshot (or from zeros) are sent, many at once, each with
its hash; the hash over all of them seals the snapshot. A journal lets a new process go on where a
killed one stopped. See "Write snapshots" in the EBS user guide.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fleetwide.baseos.snapshot_blocks import (
    BlockManifest,
    blocks_to_send,
    linear_checksum,
)
from fleetwide.errors import CloudUnavailable, FleetwideError
from fleetwide.providers.cloud import (
    BOTO_ERRORS,
    MISSING_CODES,
    Cloud,
    Patience,
    Retries,
    code_of,
    missing_is_fine,
    translated,
)
from fleetwide.providers.progress import Progress, Throttled, span
from fleetwide.providers.snapshot_journal import SnapshotJournal, journalled_snapshot
from fleetwide.providers.snapshot_sender import BlockSender
from fleetwide.providers.sparse_disks import SparseDisk, open_disk

if TYPE_CHECKING:
    from mypy_boto3_ebs import EBSClient

# With these answers the pending snapshot can never be completed.
FATAL_CODES = MISSING_CODES | {"ValidationException", "ConflictException"}
# Share of the upload's time, roughly, that goes into reading the disk.
READING_SHARE = 0.1


@dataclass(frozen=True)
class ParentSnapshot:
    """A completed snapshot of the same region and account, with the manifest of its upload."""

    snapshot_id: str
    manifest: BlockManifest


@dataclass(frozen=True)
class SnapshotRequest:
    """What to upload. ``journal`` is a path that stays the same for each attempt."""

    disk: Path
    journal: Path
    region: str
    description: str
    tags: Mapping[str, str]
    parent: ParentSnapshot | None = None


@dataclass(frozen=True)
class UploadLimits:
    """How patient an upload is; ``abandoned_minutes`` is when AWS drops one that stands still."""

    retries: Retries = field(default_factory=Retries)
    completion: Patience = field(default_factory=Patience)
    abandoned_minutes: int = 120


DEFAULT_LIMITS = UploadLimits()


@dataclass(frozen=True)
class UploadedSnapshot:
    """A completed snapshot; ``sent_blocks`` is how many blocks it holds beyond its parent."""

    snapshot_id: str
    manifest: BlockManifest
    sent_blocks: int


def upload_snapshot(
    cloud: Cloud,
    request: SnapshotRequest,
    progress: Progress,
    limits: UploadLimits = DEFAULT_LIMITS,
) -> UploadedSnapshot:
    """Upload a disk and wait until its snapshot is completed; returns its id and manifest.

    Run again with the same request and journal, it goes on where it stopped, or answers the
    snapshot that it made. The journal is the caller's to remove. What ``progress`` raises, and an
    answer that can never be mended, deletes the pending snapshot and the journal; after
    ``CloudUnavailable`` of another kind both stay for the next attempt (or ``drop_upload``).

    Raises ``InvalidInput`` for a bad disk or parent, ``NotFound`` for a parent that is gone,
    ``CloudUnavailable`` for all else.
    """
    with open_disk(request.disk) as disk:
        manifest = disk.manifest(span(progress, 0, READING_SHARE))
        parent = request.parent
        plan = _Plan(
            request, manifest, blocks_to_send(manifest, parent.manifest if parent else None)
        )
        with translated(request.region), SnapshotJournal(request.journal, plan.key) as journal:
            upload = _Upload(cloud, plan, journal, limits)
            snapshot_id = _run_or_drop(upload, disk, progress)
        return UploadedSnapshot(snapshot_id, manifest, len(plan.indexes))


def drop_upload(cloud: Cloud, region: str, journal: Path) -> None:
    """Delete the snapshot that a journal names, and the journal; safe to repeat."""
    snapshot_id = journalled_snapshot(journal)
    if snapshot_id:
        delete_snapshot(cloud, region, snapshot_id)
    journal.unlink(missing_ok=True)


def delete_snapshot(cloud: Cloud, region: str, snapshot_id: str) -> None:
    """Delete a snapshot, pending or completed; a missing one counts as deleted.

    Raises ``Conflict`` while an image uses it.
    """
    with translated(region), missing_is_fine():
        cloud.ec2(region).delete_snapshot(SnapshotId=snapshot_id)


@dataclass(frozen=True)
class _Plan:
    """A request together with what the disk turned out to hold."""

    request: SnapshotRequest
    manifest: BlockManifest
    indexes: Sequence[int]

    @property
    def start_arguments(self) -> dict[str, Any]:
        """Arguments of StartSnapshot; ``Parent`` only where there is one."""
        request = self.request
        arguments = {
            "VolumeSize": self.manifest.volume_gib,
            "Description": request.description,
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(request.tags.items())],
        }
        if request.parent:
            arguments["ParentSnapshotId"] = request.parent.snapshot_id
        return arguments

    @property
    def key(self) -> str:
        """Digest over all that makes an upload the same one."""
        sent = [(index, self.manifest.sha256_of(index)) for index in self.indexes]
        parts = [self.request.region, self.start_arguments, sent]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _run_or_drop(upload: "_Upload", disk: SparseDisk, progress: Progress) -> str:
    """Run the upload; leave a pending snapshot behind only when the next attempt can use it."""
    try:
        return upload.run(disk, progress)
    except (*BOTO_ERRORS, CloudUnavailable) as error:
        if code_of(error) in FATAL_CODES:
            upload.drop()
        raise
    except BaseException:
        upload.drop()
        raise


class _Upload:
    """One upload under way."""

    def __init__(
        self, cloud: Cloud, plan: _Plan, journal: SnapshotJournal, limits: UploadLimits
    ) -> None:
        self._cloud = cloud
        self._plan = plan
        self._journal = journal
        self._limits = limits
        self._region = plan.request.region
        self._ebs: EBSClient = cloud.ebs(self._region)

    def run(self, disk: SparseDisk, progress: Progress) -> str:
        """Start or go on, send, seal, wait; the snapshot's id."""
        progress("starting the snapshot", READING_SHARE)
        left, state = self._standing()
        if not self._journal.sealed and (left or state != "completed"):
            snapshot_id = self._journal.snapshot_id or self._start(progress)
            self._send(disk, snapshot_id, left, progress)
            self._complete(snapshot_id, progress)
        assert self._journal.snapshot_id is not None
        self._await_completed(self._journal.snapshot_id, progress)
        return self._journal.snapshot_id

    def drop(self) -> None:
        """Delete the snapshot and forget it; what cannot be deleted now keeps its tags."""
        if self._journal.snapshot_id:
            with suppress(FleetwideError):  # the error that led here says more
                delete_snapshot(self._cloud, self._region, self._journal.snapshot_id)
        self._journal.remove()

    def _standing(self) -> tuple[list[int], str | None]:
        """The blocks that are left to send, and the state of an earlier attempt's snapshot."""
        snapshot_id = self._journal.snapshot_id
        state = self._state(snapshot_id) if snapshot_id else None
        if snapshot_id and state not in ("pending", "completed"):
            delete_snapshot(self._cloud, self._region, snapshot_id)
            self._journal.restart()
        arrived = self._journal.arrived
        return [index for index in self._plan.indexes if index not in arrived], state

    def _start(self, progress: Progress) -> str:
        def start() -> str:
            answer = self._ebs.start_snapshot(
                **self._plan.start_arguments,
                ClientToken=self._journal.token,
                Timeout=self._limits.abandoned_minutes,
            )
            self._journal.started(answer["SnapshotId"])
            return answer["SnapshotId"]

        tell = partial(progress, "starting the snapshot", READING_SHARE)
        return self._limits.retries.attended(start, tell)

    def _send(
        self, disk: SparseDisk, snapshot_id: str, left: Sequence[int], progress: Progress
    ) -> None:
        sender = BlockSender(
            self._ebs, snapshot_id, disk, self._plan.manifest, self._limits.retries
        )
        throttled = Throttled(span(progress, READING_SHARE, 1))
        total = len(self._plan.indexes)

        def arrived(indexes: Sequence[int]) -> None:
            self._journal.note(indexes)
            throttled("sending blocks", len(self._journal.arrived) / total)

        sender.send(left, self._cloud.in_flight, arrived)

    def _complete(self, snapshot_id: str, progress: Progress) -> None:
        hashes = [self._plan.manifest.sha256_of(index) for index in self._plan.indexes]
        checksum = {
            "Checksum": linear_checksum(hashes),
            "ChecksumAlgorithm": "SHA256",
            "ChecksumAggregationMethod": "LINEAR",
        }
        arguments: dict[str, Any] = checksum if hashes else {}
        self._limits.retries.attended(
            lambda: self._ebs.complete_snapshot(
                SnapshotId=snapshot_id, ChangedBlocksCount=len(hashes), **arguments
            ),
            partial(progress, "completing the snapshot", None),
        )
        self._journal.seal()

    def _await_completed(self, snapshot_id: str, progress: Progress) -> None:
        def completed() -> bool:
            state = self._state(snapshot_id)
            if state not in ("pending", "completed"):
                self.drop()
                raise CloudUnavailable(f"the snapshot {snapshot_id} ended as {state or 'missing'}")
            return state == "completed"

        self._limits.completion.until(completed, progress, "completing the snapshot")

    def _state(self, snapshot_id: str) -> str | None:
        """EC2's word for the state of a snapshot; None when there is no such snapshot."""
        try:
            found = self._cloud.ec2(self._region).describe_snapshots(SnapshotIds=[snapshot_id])
        except ClientError as error:
            if code_of(error) in MISSING_CODES:
                return None
            raise
        return next((snapshot.get("State") for snapshot in found["Snapshots"]), None)

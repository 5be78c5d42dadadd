"""What the steps of an OS build hand each other: the arguments of its activities."""

from fleetwide.models.base import Digest, Layer, Record, Timestamp
from fleetwide.models.baseos import AmiSpec, BuildPlan, Target
from fleetwide.models.os_releases import AmiImage, Channel, DiskImage, LockedPlan, OSRelease


class PublishImage(Record):
    """What a container base is published from."""

    locked: LockedPlan
    layer: Layer


class BootTest(Record):
    """A disk to boot."""

    locked: LockedPlan
    disk: DiskImage


class AttachDocuments(Record):
    """What the documents of a release tell about."""

    locked: LockedPlan
    image_digest: Digest | None
    layer: Layer | None
    disk: DiskImage | None
    started_at: Timestamp
    finished_at: Timestamp
    """When the last thing was built; equal in every try, so that a retry writes equal documents."""


class UploadSnapshot(Record):
    """A disk on its way to EBS; the parent's snapshot, if there is one, saves most of the way."""

    locked: LockedPlan
    disk: DiskImage
    image_digest: Digest | None
    parent: AmiImage | None = None
    parent_disk: Digest | None = None


class AmiSnapshot(Record):
    """A completed snapshot in a region."""

    region: str
    snapshot_id: str
    sent_blocks: int
    """512 KiB blocks that were sent; the others are the parent's or empty."""


class RegisterAmi(Record):
    """A snapshot to make an AMI of."""

    locked: LockedPlan
    disk: DiskImage
    image_digest: Digest | None
    snapshot: AmiSnapshot


class CopyAmi(Record):
    """An AMI to copy to one more region."""

    source: AmiImage
    region: str


class ShareAmi(Record):
    """An AMI, and who may launch it until when."""

    ami: AmiImage
    spec: AmiSpec
    released_at: Timestamp


class DropAmis(Record):
    """What a build that came to nothing, or a release that is retired, leaves in the cloud."""

    workflow_id: str
    amis: list[AmiImage] = []
    snapshots: list[AmiSnapshot] = []
    regions: list[str] = []
    """Where to look for more that carries the workflow's id."""


class ReleaseMove(Record):
    """A release on its way to a channel, and on whose account."""

    release: OSRelease
    channel: Channel
    expected: str | None = None
    forward_only: bool = False
    """Refuse to take the place of a newer release."""
    by: str = ""
    reason: str = ""


class Moved(Record):
    """The release after a move, and the workflows of the releases that it displaced."""

    release: OSRelease
    displaced_workflow_id: str | None = None
    displaced_version: str | None = None
    superseded_workflow_id: str | None = None
    """Of the release that was the previous one until now."""


class PreviewRequest(Record):
    """A spec to look into, and the release to compare it with."""

    plan: BuildPlan
    against: OSRelease | None


class LineQuery(Record):
    """A line, and one release of it by version, channel or digest."""

    name: str
    pointer: str = ""


class LockedRelease(Record):
    """A release with all that it was built from."""

    release: OSRelease
    locked: LockedPlan


class RebuildFace(Record):
    """A locked plan, and the face of it to build once more."""

    locked: LockedPlan
    target: Target


class SameBuild(Record):
    """A line, and what a build of it would be made of."""

    name: str
    build_key: str


class ReviewedRelease(Record):
    """A release that the retention policy would let go, and what speaks against it."""

    release: OSRelease
    reasons: list[str]

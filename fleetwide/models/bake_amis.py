"""What the steps of a bake's AMI hand each other: the arguments of its activities."""

from fleetwide.models.bakery import BakeAmiSpec
from fleetwide.models.bakes import BakedDisk, BakedImage, RegionStatus, ResolvedBake
from fleetwide.models.base import Digest, Record, Sha256, Spec
from fleetwide.models.baseos import Region
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.os_steps import AmiSnapshot


class UploadBakedDisk(Record):
    """A baked disk on its way to EBS, as a child of the base's snapshot where there is one."""

    bake: ResolvedBake
    disk: BakedDisk
    sbom: Digest | None = None


class RegisterBakedAmi(Record):
    """A snapshot to make an AMI of."""

    bake: ResolvedBake
    disk: BakedDisk
    snapshot: AmiSnapshot
    sbom: Digest | None = None


class FindBakedAmi(Record):
    """Bytes that may be an AMI in a region already."""

    bake_key: Sha256
    region: Region


class RetagAmis(Record):
    """AMIs whose bytes stay while what is said about them changes."""

    amis: list[AmiImage]
    tags: dict[str, str]
    before: dict[str, str] = {}
    """The tags that the platform gave them last; those that it gives no more are taken off."""


class ReplacedAmi(Record):
    """An AMI whose place another one of the same bake took, in the same region."""

    ami: AmiImage
    replaced_by: str
    """Id of the new AMI."""


class DropBakedAmis(Record):
    """Where a bake that came to nothing may have left something."""

    regions: list[str]
    keep: list[str] = []
    """Ids of images that an earlier run of the same bake made, and that are in the books."""


class SweepBakes(Record):
    """Where to look for what bakes left behind, and whose things are to stay."""

    regions: list[str]
    keep: list[str]
    """Workflow ids of bakes that run, and of images in the books."""
    dry_run: bool = False


class SweepRequest(Spec):
    """Input of ``BakerySweep``."""

    dry_run: bool
    """Only tell what would be removed."""


class SweepPlan(Record):
    """Whose things stay: bakes that run, and images in the books."""

    regions: list[str]
    workflow_ids: list[str]
    run_ids: list[str]


class SweepLayers(Record):
    """The runs whose layers stay, and whether the others really go."""

    keep: list[str]
    dry_run: bool = False


class SweepReport(Record):
    """Result of ``BakerySweep``: what bakes left behind that were cut off."""

    layers: list[str]
    cloud: list[str]
    dry_run: bool = False


class DistributionSpec(Spec):
    """Input of ``BakeDistribution``: an image that is an AMI, and one more region for it."""

    bake_key: Sha256
    region: Region

    @property
    def workflow_id(self) -> str:
        """The id of the workflow: one at a time for each image and region."""
        return f"bake-region/{self.bake_key}/{self.region}"


class RecordRegion(Record):
    """How the distribution to one region stands, on its way into the books."""

    bake_key: Sha256
    status: RegionStatus
    ami: AmiImage | None = None


class DistributedImage(Record):
    """An image in the books, with what its request says about AMIs."""

    image: BakedImage
    ami: BakeAmiSpec

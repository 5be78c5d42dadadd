"""VM bakes on an EBS volume of the builder's own instance: the way of Netflix's aminator."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from fleetwide.bakery.vm_tags import (
    PURPOSE_TAG,
    STATUS_TAG,
    VmFacts,
    base_ami,
    vm_description,
    vm_tags,
)
from fleetwide.baseos.disks import disk_layout
from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from fleetwide.errors import InvalidInput
from fleetwide.models.bakes import BakedDisk, ResolvedBake
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.os_steps import AmiSnapshot
from fleetwide.providers.baked_disks import (
    RAW,
    DiskBake,
    DiskBaker,
    bake_disk,
    base_disk,
    copy_disk,
    describe_disk,
    vm_entries,
)
from fleetwide.providers.cloud import Cloud
from fleetwide.providers.ec2_instance import this_instance
from fleetwide.providers.ec2_retirement import find_leftovers, remove_leftovers
from fleetwide.providers.ec2_volumes import Workplace, attached, volume_snapshot, working_volume
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.volume_roots import apply_entries
from fleetwide.settings import Settings


@dataclass(frozen=True)
class VolumeBaker:
    """Bakes on volumes of one instance."""

    place: Workplace
    workflow_id: str
    """Whose the volume and the snapshot are; a sweeper finds them by it."""
    run_id: str

    def bake_disk(self, request: DiskBake, progress: Progress) -> BakedDisk:
        """Put the payload onto a volume of the base's snapshot, and take a snapshot of it.

        The snapshot comes with the answer. What an earlier try of the workflow left is removed
        first; of this one nothing stays when it fails or is cancelled. Raises what
        ``baked_disks.bake_disk`` raises, ``InvalidInput`` when this region is not the first one
        asked for or the base has no AMI in it, ``NotFound`` when the base's snapshot is gone, and
        ``CloudUnavailable``.
        """
        started = time.monotonic()
        region = self.place.instance.region
        ami = _needed_ami(request.bake, region)
        tags = vm_tags(request.bake, VmFacts(self.workflow_id, ami, run_id=self.run_id))
        self._clear(progress)
        busy = {**tags, PURPOSE_TAG: "bake", STATUS_TAG: "busy"}
        with working_volume(self.place, ami.snapshot_id, busy, span(progress, 0.0, 0.1)) as volume:
            with attached(self.place, volume, span(progress, 0.1, 0.2)) as device:
                _work(device, request, span(progress, 0.2, 0.6))
            text = vm_description(request.bake, ami)
            taking = span(progress, 0.6, 0.7)
            with volume_snapshot(self.place, volume, text, tags, taking) as snapshot_id:
                baked = describe_disk(request, started, span(progress, 0.7, 1.0))
        sent = baked.changed_bytes // BLOCK_BYTES
        snapshot = AmiSnapshot(region=region, snapshot_id=snapshot_id, sent_blocks=sent)
        return baked.model_copy(update={"snapshot": snapshot})

    def _clear(self, progress: Progress) -> None:
        """Volumes and snapshots of a try that was cut off; images of earlier bakes stay."""
        cloud, region = self.place.cloud, self.place.instance.region
        images = [one.id for one in find_leftovers(cloud, region) if one.kind == "image"]
        remove_leftovers(cloud, region, self.workflow_id, progress, keep=images)


def disk_baker(settings: Settings, cloud: Cloud, workflow_id: str, run_id: str) -> DiskBaker:
    """How this builder bakes VMs: the setting ``vm_bake``.

    Raises ``PlatformError`` when it is to use volumes and is no EC2 instance.
    """
    if settings.vm_bake == "disk":
        return bake_disk
    return VolumeBaker(Workplace(cloud, this_instance()), workflow_id, run_id).bake_disk


def _work(device: Path, request: DiskBake, progress: Progress) -> None:
    """Write the entries, and read the outcome back for its digest and for boot tests."""
    base, raw = base_disk(request.bake), request.workdir / RAW
    root = disk_layout(base.size, base.boot).root
    apply_entries(device, root, vm_entries(request), request.workdir, span(progress, 0.0, 0.5))
    copy_disk(device, raw, span(progress, 0.5, 1.0))
    # A volume has whole GiB.
    os.truncate(raw, base.size)


def _needed_ami(bake: ResolvedBake, region: str) -> AmiImage:
    if bake.spec.ami is not None and bake.spec.ami.regions[0] != region:
        raise InvalidInput.for_field(
            "ami.regions",
            f"this builder bakes on volumes in {region}, so that region must be the first",
            given=bake.spec.ami.regions[0],
            hint="FLEETWIDE_VM_BAKE=disk on the builder serves all regions",
        )
    ami = base_ami(bake, region)
    if ami is None:
        base = bake.base
        raise InvalidInput.for_field(
            "base",
            f"{base.name} {base.version} has no AMI in {region}, where this builder bakes volumes",
            hint="FLEETWIDE_VM_BAKE=disk on the builder",
        )
    return ami

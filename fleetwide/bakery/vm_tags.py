"""What the AMI of a bake is called and how it is tagged; no I/O.

The names of the tags are those that Netflix's aminator and Spinnaker's rosco made common.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from fleetwide.baseos.amis import (
    BUILD_KEY_TAG,
    EC2_ARCHITECTURES,
    MAX_DESCRIPTION,
    MAX_TAG_VALUE,
    WORKFLOW_TAG,
    check_ami_tags,
    fitted_name,
)
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import ResolvedBake
from fleetwide.models.base import Digest
from fleetwide.models.baseos import Architecture
from fleetwide.models.os_releases import AmiImage, Channel
from fleetwide.registry.oci import rfc3339

KEY_LENGTH = 12
BAKE_KEY_TAG = "bake_key"
PURPOSE_TAG = "purpose"
STATUS_TAG = "status"
REPLACED_TAG = "replaced_by"
"""On an AMI that a forced bake replaced: the id of the new one."""

PLATFORM_TAGS = frozenset(
    {
        *("Name", "appversion", "creator", "creation_time", "owner"),
        *("os_line", "os_release", "channel_at_bake", "base_digest"),
        *("base_ami_id", "base_ami_name", "base_ami_version"),
        *("build_host", "build_job", "build_number", "build_info_url", "commit_hash"),
        *(BAKE_KEY_TAG, "sbom_digest", PURPOSE_TAG, STATUS_TAG, REPLACED_TAG),
        *(WORKFLOW_TAG, BUILD_KEY_TAG),
    }
)


@dataclass(frozen=True)
class VmFacts:
    """What the tags of an AMI tell about beyond the bake itself."""

    workflow_id: str
    base_ami: AmiImage | None = None
    """The base's AMI in the region where the snapshot is made."""
    sbom: Digest | None = None
    run_id: str = ""
    """The run of the workflow; the AMI of a forced bake is called after it."""


def base_ami(bake: ResolvedBake, region: str) -> AmiImage | None:
    """The base's AMI in a region; None where it has none, or where its snapshot is not known."""
    there = (ami for ami in bake.base.amis if ami.region == region and ami.snapshot_id)
    return next(there, None)


def appversion(spec: BakeSpec) -> str:
    """``name-version-h<build>.<commit>/<job>/<build>``, as much of it as the build told.

    The part about the job is left out where a tag has no room for it.
    """
    build = spec.build
    text = f"{spec.name}-{spec.version}"
    if not build.number:
        return text
    text += f"-h{build.number}" + (f".{build.commit}" if build.commit else "")
    whole = f"{text}/{build.job}/{build.number}" if build.job else text
    return whole if len(whole) <= MAX_TAG_VALUE else text


def vm_name(bake: ResolvedBake, run_id: str = "") -> str:
    """``<name>-<version>-<architecture>-<base's minute, UTC>-<bake key>`` in EC2's characters.

    The start of the bake key makes it the name of these bytes alone. EC2 allows a name once in an
    account and region, so a forced bake, whose AMI stands beside the one before, adds its run.
    """
    spec = bake.spec
    minute = datetime.fromtimestamp(bake.base.created_epoch, UTC).strftime("%Y%m%d%H%M")
    parts = (spec.name, spec.version, _architecture(bake), minute, bake.bake_key[:KEY_LENGTH])
    # The end of a run's id is random; its start may be a time.
    forced = (run_id.rpartition("-")[2],) if spec.rebake else ()
    return fitted_name("-".join((*parts, *forced)))


def vm_description(bake: ResolvedBake, ancestor: AmiImage | None = None) -> str:
    """One line in aminator's form for people who see the AMI or its snapshot in the console."""
    base = bake.base
    facts = {
        "name": bake.spec.name,
        "version": bake.spec.version,
        "arch": _architecture(bake),
        "ancestor_name": base.name,
        "ancestor_version": base.version,
        "ancestor_id": ancestor.image_id if ancestor else "",
    }
    text = ", ".join(f"{name}={value}" for name, value in facts.items() if value)
    return text[:MAX_DESCRIPTION]


def vm_tags(bake: ResolvedBake, facts: VmFacts) -> dict[str, str]:
    """Tags of the image and of its snapshots: the platform's, the AMI's and the labels.

    Raises ``InvalidInput`` like ``check_vm_tags``. Values that are empty are left out.
    """
    check_vm_tags(bake.spec)
    ours = {**_identity_tags(bake, facts), **_base_tags(bake, facts), **_build_tags(bake.spec)}
    merged = {**_their_tags(bake.spec), **ours}
    return {key: value for key, value in merged.items() if value}


def check_vm_tags(spec: BakeSpec) -> None:
    """Raise ``InvalidInput`` naming each label or AMI tag that EC2 would refuse as a tag."""
    check_ami_tags(spec.labels, PLATFORM_TAGS, "labels")
    check_ami_tags(_their_tags(spec), PLATFORM_TAGS)


def _their_tags(spec: BakeSpec) -> dict[str, str]:
    return {**spec.labels, **(spec.ami.tags if spec.ami else {})}


def _identity_tags(bake: ResolvedBake, facts: VmFacts) -> dict[str, str]:
    return {
        "Name": vm_name(bake, facts.run_id),
        "appversion": appversion(bake.spec),
        "creator": "fleetwide",
        "creation_time": rfc3339(bake.base.created_epoch),
        "owner": bake.spec.owner,
        "sbom_digest": facts.sbom or "",
        BAKE_KEY_TAG: bake.bake_key,
        BUILD_KEY_TAG: bake.bake_key,
        WORKFLOW_TAG: facts.workflow_id,
    }


def _base_tags(bake: ResolvedBake, facts: VmFacts) -> dict[str, str]:
    base, ami = bake.base, facts.base_ami
    asked = bake.spec.base.partition(":")[2]
    return {
        "os_line": base.name,
        "os_release": base.version,
        "channel_at_bake": asked if asked in set(Channel) else "",
        "base_digest": base.disk.digest if base.disk else base.digest,
        "base_ami_id": ami.image_id if ami else "",
        "base_ami_name": ami.name if ami else "",
        "base_ami_version": base.version,
    }


def _build_tags(spec: BakeSpec) -> dict[str, str]:
    build = spec.build
    return {
        "build_host": build.host,
        "build_job": build.job,
        "build_number": build.number,
        # EC2 takes no longer value, and half an address is of no use.
        "build_info_url": build.url if len(build.url) <= MAX_TAG_VALUE else "",
        "commit_hash": build.commit,
    }


def _architecture(bake: ResolvedBake) -> str:
    return EC2_ARCHITECTURES[Architecture(bake.base.architecture)]

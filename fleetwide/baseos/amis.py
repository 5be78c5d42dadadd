"""What an AMI of an OS release is called, how it is tagged, and who may launch it; no I/O.

EC2's own limits are in its API reference: names in RegisterImage, tags in "Tag your resources".
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fleetwide.errors import FieldFault, InvalidInput
from fleetwide.models.baseos import Architecture, BootMode, BuildPlan

WORKFLOW_TAG = "fleetwide:workflow-id"
BUILD_KEY_TAG = "fleetwide:build-key"
MAX_TAGS = 50
# EBS takes one character less than EC2, and the snapshot carries the same tags as the image.
MAX_TAG_KEY = 127
MAX_TAG_VALUE = 255
MAX_NAME = 128
MAX_DESCRIPTION = 255
NAME_DIGEST_LENGTH = 12

EC2_ARCHITECTURES = {Architecture.AMD64: "x86_64", Architecture.ARM64: "arm64"}
EC2_BOOT_MODES = {BootMode.BIOS: "legacy-bios", BootMode.UEFI: "uefi"}
# Debian versions may hold these two; EC2's names may not.
NAME_SUBSTITUTES = str.maketrans({"+": "_", "~": "@"})


@dataclass(frozen=True)
class AmiSubject:
    """The release that an AMI is made of."""

    plan: BuildPlan
    build_key: str
    lock_digest: str
    epoch: int
    """Seconds since 1970 that the release's files are dated."""
    image_digest: str | None = None
    """Digest of the release's container base, where it has one."""


def ami_name(plan: BuildPlan) -> str:
    """``<line>-<version>-<architecture>-<boot>`` in EC2's characters, at most 128 of them."""
    spec = plan.spec
    parts = (plan.name, plan.version, EC2_ARCHITECTURES[spec.architecture], spec.vm.boot.value)
    return fitted_name("-".join(parts))


def fitted_name(name: str) -> str:
    """``name`` in EC2's characters; what is too long ends with a digest of the whole instead."""
    name = name.translate(NAME_SUBSTITUTES)
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:NAME_DIGEST_LENGTH]
    return f"{name[: MAX_NAME - NAME_DIGEST_LENGTH - 1]}-{digest}"


def ami_description(plan: BuildPlan) -> str:
    """One line for people who see the AMI or its snapshot in the console."""
    spec = plan.spec
    text = f"{plan.name} {plan.version}: {spec.distribution} {spec.suite}, {spec.architecture}"
    return text[:MAX_DESCRIPTION]


def boot_mode_of(architecture: Architecture, boot: BootMode) -> str:
    """EC2's word for the boot mode; ``InvalidInput`` for BIOS on arm64, which has none."""
    if architecture is Architecture.ARM64 and boot is BootMode.BIOS:
        raise InvalidInput.for_field(
            "vm.boot", "EC2 boots arm64 by UEFI only", given=boot.value, hint="vm.boot: uefi"
        )
    return EC2_BOOT_MODES[boot]


def ami_tags(subject: AmiSubject) -> dict[str, str]:
    """Tags of the image and of its snapshots: the platform's own and those of the spec.

    Raises ``InvalidInput`` like ``check_ami_tags``. Values that are empty are left out.
    """
    ours = _platform_tags(subject)
    ami = subject.plan.spec.ami
    theirs = ami.tags if ami else {}
    check_ami_tags(theirs)
    return {key: value for key, value in (theirs | ours).items() if value}


def check_ami_tags(
    tags: Mapping[str, str],
    reserved: Collection[str] | None = None,
    field: str = "ami.tags",
) -> None:
    """Raise ``InvalidInput`` naming each tag that EC2 would refuse or that is the platform's.

    ``reserved`` are the platform's own tags of the image; unset means those of an OS release.
    """
    ours = PLATFORM_TAGS if reserved is None else reserved
    faults = [
        FieldFault(f"{field}.{key}", fault)
        for key, value in tags.items()
        if (fault := _tag_fault(key, value, ours))
    ]
    room = MAX_TAGS - len(ours)
    if len(tags) > room:
        faults.append(FieldFault(field, f"holds {len(tags)} tags; there is room for {room}"))
    if faults:
        raise InvalidInput("; ".join(map(str, faults)), fields=tuple(faults))


def _tag_fault(key: str, value: str, reserved: Collection[str]) -> str | None:
    if key in reserved or key.startswith("fleetwide:"):
        return "is set by the platform"
    if key.lower().startswith("aws:"):
        return "the prefix aws: is reserved"
    if not 1 <= len(key) <= MAX_TAG_KEY:
        return f"a key has 1 to {MAX_TAG_KEY} characters"
    if not 1 <= len(value) <= MAX_TAG_VALUE:
        return f"a value has 1 to {MAX_TAG_VALUE} characters"
    return None


def _platform_tags(subject: AmiSubject) -> dict[str, str]:
    plan = subject.plan
    created = datetime.fromtimestamp(subject.epoch, UTC)
    return {
        "Name": ami_name(plan),
        "creator": "fleetwide",
        "creation_time": created.isoformat().replace("+00:00", "Z"),
        "os_line": plan.name,
        "os_release": plan.version,
        "os_parent": plan.parent or "",
        "lock_digest": subject.lock_digest,
        "image_digest": subject.image_digest or "",
        "owner": plan.spec.owner,
        WORKFLOW_TAG: plan.workflow_id,
        BUILD_KEY_TAG: subject.build_key,
    }


PLATFORM_TAGS = frozenset(
    {
        *("Name", "creator", "creation_time", "os_line", "os_release", "os_parent"),
        *("lock_digest", "image_digest", "owner", WORKFLOW_TAG, BUILD_KEY_TAG),
    }
)


@dataclass(frozen=True)
class PermissionChange:
    """Launch permissions to add and to remove, as ModifyImageAttribute takes them."""

    add: list[dict[str, str]]
    remove: list[dict[str, str]]

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def permission_change(
    current: Sequence[Mapping[str, str]], accounts: Collection[str], organizations: Collection[str]
) -> PermissionChange:
    """What turns the ``current`` launch permissions of an image into exactly these.

    ``accounts`` are 12-digit ids, ``organizations`` ARNs of organisations or their units.
    """
    wanted = {
        *(("UserId", account) for account in accounts),
        *((_arn_kind(arn), arn) for arn in organizations),
    }
    present = {pair for permission in current for pair in permission.items()}
    return PermissionChange(
        add=[{kind: value} for kind, value in sorted(wanted - present)],
        remove=[{kind: value} for kind, value in sorted(present - wanted)],
    )


def _arn_kind(arn: str) -> str:
    return "OrganizationalUnitArn" if ":ou/" in arn else "OrganizationArn"

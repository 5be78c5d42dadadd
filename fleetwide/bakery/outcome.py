"""What came of a bake: the image for the inventory, or why there is none."""

from dataclasses import dataclass
from datetime import datetime

from fleetwide.bakery.images import bake_metadata
from fleetwide.errors import TRAITS, ErrorCode
from fleetwide.models.bakes import (
    BakedDisk,
    BakedImage,
    BakeFailure,
    BakeState,
    BuiltLayer,
    PublishedBake,
    ResolvedBake,
    SmokeReport,
)

CANCELLED = "cancelled"


@dataclass(frozen=True)
class BakeParts:
    """What the stages of a bake made; a face that was not asked for is None."""

    built: BuiltLayer | None = None
    smoke: SmokeReport | None = None
    disk: BakedDisk | None = None


def image_of(
    bake: ResolvedBake,
    parts: BakeParts,
    published: PublishedBake,
    workflow_id: str,
    created_at: datetime,
) -> BakedImage:
    """The image as the inventory knows it."""
    built, pushed, disk = parts.built, published.pushed, parts.disk
    # The faces share most rules: each finding is told once.
    found = [*(built.findings if built else []), *(disk.findings if disk else [])]
    findings = list(dict.fromkeys(found))
    return BakedImage(
        name=bake.spec.name,
        version=bake.spec.version,
        bake_key=bake.bake_key,
        content_key=bake.content_key,
        workflow_id=workflow_id,
        repository=bake.repository,
        digest=pushed.digest if pushed else None,
        targets=bake.spec.targets,
        architecture=bake.base.architecture,
        base_name=bake.base.name,
        base_version=bake.base.version,
        base_digest=bake.base.digest,
        built=built,
        size=pushed.size if pushed else 0,
        rebased_from=bake.reusable.bake_key if bake.reusable else None,
        recipe=bake.recipe.reference if bake.recipe else "",
        dependencies=bake.dependencies,
        metadata=pushed.metadata if pushed else bake_metadata(bake, ""),
        findings=findings,
        smoke=parts.smoke,
        disk=disk.disk if disk else None,
        boot=disk.boot if disk else None,
        attachments=published.attachments,
        build_seconds=(built.build_seconds if built else 0) + (disk.build_seconds if disk else 0),
        created_at=created_at,
    )


def failure_of(stage: BakeState, code: str, message: str, hint: str = "") -> BakeFailure:
    """Why there is no image; ``code`` is an ``ErrorCode``, another word counts as Internal."""
    if code == CANCELLED:
        return BakeFailure(stage=stage, reason=CANCELLED, message=message, retryable=True)
    known = code if code in set(ErrorCode) else ErrorCode.INTERNAL
    return BakeFailure(
        stage=stage,
        reason=known,
        message=message,
        hint=hint,
        retryable=TRAITS[ErrorCode(known)].retryable,
    )

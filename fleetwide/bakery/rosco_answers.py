"""Bakes, images and OS releases in the words of Spinnaker's bakery (rosco)."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetwide.bakery.rosco import AWS, PROVIDERS
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BakedImage, BakeFailure, BakeState
from fleetwide.models.baseos import Target
from fleetwide.models.os_releases import OSRelease
from fleetwide.models.rosco import (
    BakeOptions,
    BaseImageOption,
    ImageArtifact,
    RoscoBake,
    RoscoBase,
    RoscoResult,
    RoscoState,
    RoscoStatus,
)

# Total over BakeState (a test asserts it).
ENDS: dict[BakeState, tuple[RoscoState, RoscoResult | None]] = {
    BakeState.PENDING: (RoscoState.RUNNING, None),
    BakeState.RESOLVING: (RoscoState.RUNNING, None),
    BakeState.BUILDING: (RoscoState.RUNNING, None),
    BakeState.TESTING: (RoscoState.RUNNING, None),
    BakeState.PUBLISHING: (RoscoState.RUNNING, None),
    BakeState.DISTRIBUTING: (RoscoState.RUNNING, None),
    BakeState.AVAILABLE: (RoscoState.COMPLETED, RoscoResult.SUCCESS),
    BakeState.CACHED: (RoscoState.COMPLETED, RoscoResult.SUCCESS),
    BakeState.FAILED: (RoscoState.CANCELED, RoscoResult.FAILURE),
    BakeState.CANCELLED: (RoscoState.CANCELED, RoscoResult.FAILURE),
}


@dataclass(frozen=True)
class SeenImage:
    """An image as it is told to one region's client."""

    bake_id: str
    spec: BakeSpec
    image: BakedImage
    registry: str
    """Host of the registry, as deployments name it."""
    base_amis: dict[str, str]
    """The base's AMIs by region."""


def status_of(bake_id: str, state: BakeState, messages: Sequence[str] = ()) -> RoscoStatus:
    """The status of a bake in that state."""
    stands, result = ENDS[state]
    return RoscoStatus(
        id=bake_id, resource_id=bake_id, state=stands, result=result, messages=list(messages)
    )


def failure_lines(failure: BakeFailure) -> list[str]:
    """Why a bake came to nothing, for people who see a status or a log."""
    told = f"the bake ended at {failure.stage} ({failure.reason}): {failure.message}"
    return [told, *([f"hint: {failure.hint}"] if failure.hint else [])]


def details_of(seen: SeenImage, region: str) -> RoscoBake | None:
    """The image in one region; None where it is in others only."""
    artifacts = _amis(seen) if seen.image.amis else _container(seen, region)
    here = next((one for one in artifacts if one.location == region), None)
    if here is None:
        return None
    base = f"{seen.image.base_name}:{seen.image.base_version}"
    return RoscoBake(
        id=seen.bake_id,
        ami=here.reference,
        image_name=here.name,
        base_ami=seen.base_amis.get(region) if seen.image.amis else base,
        regions=[one.location for one in artifacts],
        artifact=here,
        artifacts=artifacts,
    )


def options_of(provider: str, bases: Sequence[tuple[str, RoscoBase, OSRelease]]) -> BakeOptions:
    """The bases that a provider's images can stand on: id, what it stands for, its release."""
    faced = [one for one in bases if has_face(one[2], PROVIDERS[provider])]
    images = [_option(base_os, base, release, provider) for base_os, base, release in faced]
    return BakeOptions(cloud_provider=provider, base_images=images)


def has_face(release: OSRelease, target: Target) -> bool:
    """Whether the release can be the base of such an image."""
    return (release.disk if target is Target.VM else release.image_digest) is not None


def _option(base_os: str, base: RoscoBase, release: OSRelease, provider: str) -> BaseImageOption:
    system = f"{release.distribution} {release.suite} ({release.architecture})"
    return BaseImageOption(
        id=base_os,
        short_description=release.suite,
        detailed_description=base.description or f"{system}, {base.line}:{release.version}",
        display_name=base_os,
        vm_types=["hvm"] if provider == AWS else [],
    )


def _amis(seen: SeenImage) -> list[ImageArtifact]:
    return [
        _artifact(seen, "aws/image", ami.region, ami.image_id, ami.name) for ami in seen.image.amis
    ]


def _container(seen: SeenImage, region: str) -> list[ImageArtifact]:
    """Every region sees the one registry."""
    image = seen.image
    reference = f"{seen.registry}/{image.repository}@{image.digest}"
    return [
        _artifact(seen, "docker/image", region, reference, f"{seen.registry}/{image.repository}")
    ]


def _artifact(seen: SeenImage, kind: str, region: str, reference: str, name: str) -> ImageArtifact:
    build = seen.spec.build
    told = {"build_info_url": build.url, "build_number": build.number, "job": build.job}
    return ImageArtifact(
        type=kind,
        name=name,
        version=seen.image.version,
        location=region,
        reference=reference,
        metadata={key: value for key, value in told.items() if value},
        uuid=seen.bake_id,
    )

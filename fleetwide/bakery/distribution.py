"""Which regions, accounts and tags a request asks for that an image has not got yet; no I/O."""

from collections.abc import Sequence

from fleetwide.models.bakery import BakeAmiSpec, BakeSpec
from fleetwide.models.bakes import (
    BakedImage,
    MissingDistribution,
    RegionState,
    ResolvedBake,
)
from fleetwide.models.os_releases import AmiImage


def missing_of(image: BakedImage, asked: BakeAmiSpec | None) -> MissingDistribution | None:
    """What the image lacks of what is asked for; None where it has all of it."""
    if asked is None:
        return None
    wanted = {*asked.accounts, *asked.organizations}
    there = {one.region for one in image.amis} & {
        one.region
        for one in image.regions
        if one.state is RegionState.AVAILABLE and wanted <= {*one.shared_with}
    }
    regions = [region for region in dict.fromkeys(asked.regions) if region not in there]
    tags = {key: value for key, value in asked.tags.items() if image.ami_tags.get(key) != value}
    return MissingDistribution(regions=regions, tags=tags) if regions or tags else None


def lacks_ami(bake: ResolvedBake) -> bool:
    """Whether an AMI is asked for of which there is none to copy: it takes a build."""
    return bake.spec.ami is not None and bake.cached is not None and not bake.cached.amis


def widened(before: BakeAmiSpec | None, asked: BakeAmiSpec | None) -> BakeAmiSpec | None:
    """All that was asked for of an image so far; where both say something, ``asked`` holds."""
    if before is None or asked is None:
        return asked or before
    return asked.model_copy(
        update={
            "regions": _union(before.regions, asked.regions),
            "accounts": _union(before.accounts, asked.accounts),
            "organizations": _union(before.organizations, asked.organizations),
            "tags": {**before.tags, **asked.tags},
        }
    )


def with_known_amis(new: Sequence[AmiImage], known: Sequence[AmiImage]) -> list[AmiImage]:
    """The new AMIs, and the known ones of all other regions; copies are made of the first."""
    regions = {one.region for one in new}
    return [*new, *(one for one in known if one.region not in regions)]


def joined(
    bake: ResolvedBake, image: BakedImage, requests: Sequence[BakeSpec], *, built: bool
) -> ResolvedBake:
    """What is left to do for requests that joined the bake while it ran.

    They have its key, so they differ in metadata, of which the last ones hold, and in AMIs, of
    which all are made. A build that is ``built`` serves a forced request too.
    """
    last = requests[-1]
    ami = bake.spec.ami
    for request in requests:
        ami = widened(ami, request.ami)
    forced = not built and any(request.rebake for request in requests)
    metadata = {"owner": last.owner, "build": last.build, "labels": last.labels}
    spec = bake.spec.model_copy(update={**metadata, "ami": ami, "rebake": forced})
    left = {"spec": spec, "cached": image, "reusable": None, "missing": missing_of(image, ami)}
    return bake.model_copy(update=left)


def _union(before: Sequence[str], asked: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*before, *asked]))

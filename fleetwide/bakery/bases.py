"""An OS release as the base of a bake, and the words by which people name one."""

from fleetwide.errors import NotFound
from fleetwide.models.bakery import BaseImage
from fleetwide.models.os_releases import OSRelease


def split_base(base: str) -> tuple[str, str]:
    """``baseos:stable`` or ``baseos@sha256:...`` as line and pointer."""
    name, separator, digest = base.partition("@")
    if separator:
        return name, digest
    line, _, pointer = base.partition(":")
    return line, pointer


def base_of(release: OSRelease) -> BaseImage:
    """The release's image as a base, with everything that a bake needs of it."""
    if release.image_digest is None or release.layer is None:
        raise NotFound(f"OS release {release.name} {release.version} has no image yet")
    return BaseImage(
        name=release.name,
        version=release.version,
        repository=release.repository,
        digest=release.image_digest,
        layer=release.layer,
        distribution=release.distribution,
        suite=release.suite,
        architecture=release.architecture,
        created_epoch=release.source_date_epoch,
    )

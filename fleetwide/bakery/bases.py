"""An OS release as the base of a bake, and the words by which people name one."""

from collections.abc import Sequence

from fleetwide.errors import NotFound
from fleetwide.models.bakes import BaseImage
from fleetwide.models.baseos import Target
from fleetwide.models.os_releases import OSRelease


def split_base(base: str) -> tuple[str, str]:
    """``baseos:stable`` or ``baseos@sha256:...`` as line and pointer."""
    name, separator, digest = base.partition("@")
    if separator:
        return name, digest
    line, _, pointer = base.partition(":")
    return line, pointer


def base_of(release: OSRelease, targets: Sequence[Target]) -> BaseImage:
    """The release as a base for ``targets``, with everything that a bake needs of it.

    Raises:
        NotFound: the release has no face for one of the targets.
    """
    faces = {Target.CONTAINER: release.image_digest, Target.VM: release.disk}
    for target in targets:
        if faces[target] is None:
            raise NotFound(
                f"OS release {release.name} {release.version} has no {target} face",
                hint=f"build the line with `targets: [{target}]`, or bake for its other face",
            )
    digest = release.image_digest or (release.disk.digest if release.disk else None)
    assert digest is not None
    return BaseImage(
        name=release.name,
        version=release.version,
        repository=release.repository,
        digest=digest,
        layer=release.layer,
        distribution=release.distribution,
        suite=release.suite,
        architecture=release.architecture,
        created_epoch=release.source_date_epoch,
        lock=release.lock,
        disk=release.disk,
        amis=release.amis,
        sbom=_sbom(release),
    )


def _sbom(release: OSRelease) -> str | None:
    """The digest of the SPDX document of the container face, as it is attached."""
    found = (one for one in release.attachments if one.key.endswith("/container.spdx.json"))
    return next((one.digest for one in found), None)

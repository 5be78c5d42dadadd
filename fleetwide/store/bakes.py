"""A bake request resolved against the inventory: its base, its key, and whether it is done."""

from sqlmodel import Session

from fleetwide.bakery.bases import base_of, split_base
from fleetwide.bakery.keys import bake_key, repository_of
from fleetwide.errors import NotFound
from fleetwide.models.bakery import BakeSpec, ResolvedBake
from fleetwide.store import images, releases


def resolve(session: Session, spec: BakeSpec) -> ResolvedBake:
    """Pin the base, compute the bake key, look the image up.

    Raises:
        NotFound: the base, or an artifact that should have been uploaded, does not exist.
    """
    line, pointer = split_base(spec.base)
    release = releases.to_model(session, releases.resolve(session, line, pointer))
    base = base_of(release)
    key = bake_key(spec, base)
    cached = images.by_key(session, key)
    if cached is None:
        _check_uploads(session, spec)
    return ResolvedBake(
        spec=spec, base=base, bake_key=key, repository=repository_of(spec.name), cached=cached
    )


def _check_uploads(session: Session, spec: BakeSpec) -> None:
    for artifact in spec.artifacts:
        if artifact.url is None and images.artifact(session, artifact.sha256) is None:
            raise NotFound(
                f"artifact {artifact.filename} (sha256 {artifact.sha256}) was never uploaded",
                hint=f"fleetwide artifact upload {artifact.filename}",
            )

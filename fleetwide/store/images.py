"""Baked images and the artifacts that they are made of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from fleetwide.bakery.distribution import widened, with_known_amis
from fleetwide.errors import NotFound
from fleetwide.models.bake_amis import DistributedImage, RecordRegion
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BakedImage, ResolvedBake
from fleetwide.store import events
from fleetwide.store.tables import ArtifactRow, ImageDigestRow, ImageRow
from fleetwide.store.upserts import add_new

# Every cached answer asks this. It is composed once and runs past the ORM, which takes longer to
# make a query and a row of it than the database takes to answer.
_IMAGE_OF_KEY = select(ImageRow.image).where(col(ImageRow.bake_key) == bindparam("bake_key"))


def by_key(session: Session, bake_key: str) -> BakedImage | None:
    """The image that a bake key stands for, if it was baked."""
    image = session.connection().execute(_IMAGE_OF_KEY, {"bake_key": bake_key}).scalar()
    return BakedImage.model_validate(image) if image else None


def by_digest(session: Session, digest: str) -> ImageRow | None:
    """The image that has, or had, this manifest."""
    known = session.get(ImageDigestRow, digest)
    return session.get(ImageRow, known.bake_key) if known else None


def digests_of_key(session: Session, bake_key: str) -> list[str]:
    """Every manifest that the image of a bake key has, or had."""
    query = select(ImageDigestRow.digest).where(col(ImageDigestRow.bake_key) == bake_key)
    return sorted(session.connection().execute(query).scalars())


def rebaseable(session: Session, content_key: str) -> BakedImage | None:
    """The newest image of the same content whose layer fits another base too."""
    query = select(ImageRow).where(ImageRow.content_key == content_key)
    for row in session.exec(query.order_by(col(ImageRow.created_at).desc())):
        image = BakedImage.model_validate(row.image)
        if image.built is not None and image.built.rebaseable:
            return image
    return None


def save(session: Session, bake: ResolvedBake, image: BakedImage, *, now: datetime) -> BakedImage:
    """Record a baked image, or what a later bake of the same key changed: metadata, regions.

    When and by which workflow the key was first baked stays, unless the bake was forced; so do the
    AMIs of regions that the image has none in, and all that was asked for of them before.
    """
    row = session.get(ImageRow, image.bake_key, with_for_update=True)
    spec = bake.spec
    if row is not None:
        spec = _widened(row, spec)
        image = _merged(BakedImage.model_validate(row.image), image, forced=spec.rebake)
    image = image.model_copy(update={"ami_tags": spec.ami.tags if spec.ami else {}})
    row = row or ImageRow(bake_key=image.bake_key, created_at=image.created_at, **_columns(image))
    for name, value in _columns(image).items():
        setattr(row, name, value)
    row.owner = spec.owner
    row.spec = spec.model_dump(mode="json")
    row.created_at = image.created_at
    session.add(row)
    digest = {"digest": image.digest, "bake_key": image.bake_key, "created_at": now}
    if image.digest is not None and add_new(session, ImageDigestRow, [digest], key=["digest"]):
        events.append(session, image.workflow_id, "baked", f"baked {image.reference}", at=now)
    return image


def widen(session: Session, bake: ResolvedBake) -> BakedImage:
    """Add what a request says about AMIs to what earlier ones said of the same image."""
    query = select(ImageRow).where(ImageRow.bake_key == bake.bake_key).with_for_update()
    row = session.exec(query).one()
    spec = _widened(row, bake.spec)
    image = BakedImage.model_validate(row.image)
    image = image.model_copy(update={"ami_tags": spec.ami.tags if spec.ami else {}})
    # All else that the request says is not recorded here: another may have been answered since.
    stored = BakeSpec.model_validate(row.spec).model_copy(update={"ami": spec.ami})
    row.spec, row.image = stored.model_dump(mode="json"), image.model_dump(mode="json")
    session.add(row)
    return image


def _widened(row: ImageRow, spec: BakeSpec) -> BakeSpec:
    before = BakeSpec.model_validate(row.spec).ami if row.spec else None
    return spec.model_copy(update={"ami": widened(before, spec.ami)})


def _merged(known: BakedImage, image: BakedImage, *, forced: bool) -> BakedImage:
    """The image with what is known of it in regions that it says nothing of."""
    if forced:
        # An AMI of a forced bake is not yet shared like the one that it takes the place of.
        new = [one for one in image.amis if one not in known.amis]
        told = {one.region for one in new}
        kept: dict[str, Any] = {"regions": [one for one in known.regions if one.region not in told]}
    else:
        new = known.amis or image.amis
        kept = {
            "workflow_id": known.workflow_id,
            "created_at": known.created_at,
            "regions": known.regions,
        }
    return image.model_copy(update={**kept, "amis": with_known_amis(new, known.amis)})


def _columns(image: BakedImage) -> dict[str, Any]:
    return {
        "content_key": image.content_key,
        "workflow_id": image.workflow_id,
        "name": image.name,
        "version": image.version,
        "repository": image.repository,
        "digest": image.digest or "",
        "base_name": image.base_name,
        "base_version": image.base_version,
        "base_digest": image.base_digest,
        "image": image.model_dump(mode="json"),
    }


def distributed(session: Session, bake_key: str) -> DistributedImage:
    """The image of a key, which must have an AMI, and the request's words about AMIs.

    Raises:
        NotFound: there is no such image, or it has no AMI.
    """
    row = session.get(ImageRow, bake_key)
    image = BakedImage.model_validate(row.image) if row else None
    spec = BakeSpec.model_validate(row.spec).ami if row and row.spec else None
    if image is None or spec is None or not image.amis:
        raise NotFound(f"the bake {bake_key} has no AMI", hint="fleetwide image list -o wide")
    return DistributedImage(image=image, ami=spec)


def record_region(session: Session, request: RecordRegion) -> BakedImage:
    """Write how the distribution to one region stands."""
    query = select(ImageRow).where(ImageRow.bake_key == request.bake_key).with_for_update()
    row = session.exec(query).one()
    image = BakedImage.model_validate(row.image)
    status, ami = request.status, request.ami
    others = [one for one in image.regions if one.region != status.region]
    amis = [ami if ami and one.region == ami.region else one for one in image.amis]
    if ami is not None and ami not in amis:
        amis.append(ami)
    update = {"regions": sorted([*others, status], key=lambda one: one.region), "amis": amis}
    image = image.model_copy(update=update)
    row.image = image.model_dump(mode="json")
    session.add(row)
    return image


def listing(
    session: Session,
    *,
    name: str | None = None,
    base_digest: str | None = None,
    before: datetime | None = None,
    limit: int = 50,
) -> Sequence[ImageRow]:
    """Baked images, newest first; ``before`` is the time of the last row already seen."""
    query = select(ImageRow)
    if name is not None:
        query = query.where(ImageRow.name == name)
    if base_digest is not None:
        query = query.where(ImageRow.base_digest == base_digest)
    if before is not None:
        query = query.where(col(ImageRow.created_at) < before)
    ordered = query.order_by(col(ImageRow.created_at).desc(), col(ImageRow.bake_key))
    return session.exec(ordered.limit(limit)).all()


def save_artifact(
    session: Session, sha256: str, filename: str, size: int, *, now: datetime
) -> None:
    """Record an uploaded artifact; a second upload of the same bytes changes nothing."""
    row = {"sha256": sha256, "filename": filename, "size": size, "uploaded_at": now}
    add_new(session, ArtifactRow, [row], key=["sha256"])


def artifact(session: Session, sha256: str) -> ArtifactRow | None:
    """The uploaded artifact with that digest."""
    return session.get(ArtifactRow, sha256)

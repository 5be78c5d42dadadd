"""Baked images and the artifacts that they are made of."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.models.bakery import BakedImage
from fleetwide.store import events
from fleetwide.store.tables import ArtifactRow, ImageRow


def by_key(session: Session, bake_key: str) -> BakedImage | None:
    """The image that a bake key stands for, if it was baked."""
    row = session.get(ImageRow, bake_key)
    return BakedImage.model_validate(row.image) if row else None


def save(session: Session, image: BakedImage, owner: str, *, now: datetime) -> BakedImage:
    """Record a baked image; the first record of a key stays and is returned."""
    known = by_key(session, image.bake_key)
    if known is not None:
        return known
    session.add(
        ImageRow(
            bake_key=image.bake_key,
            workflow_id=image.workflow_id,
            name=image.name,
            version=image.version,
            repository=image.repository,
            digest=image.digest,
            base_name=image.base_name,
            base_version=image.base_version,
            base_digest=image.base_digest,
            owner=owner,
            image=image.model_dump(mode="json"),
            created_at=now,
        )
    )
    events.append(session, image.workflow_id, "baked", f"baked {image.reference}", at=now)
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
    if session.get(ArtifactRow, sha256) is None:
        session.add(ArtifactRow(sha256=sha256, filename=filename, size=size, uploaded_at=now))


def artifact(session: Session, sha256: str) -> ArtifactRow | None:
    """The uploaded artifact with that digest."""
    return session.get(ArtifactRow, sha256)

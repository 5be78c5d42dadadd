"""What Spinnaker's way of asking needs to find in the books, and the one thing that it leaves."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, cast
from sqlmodel import Session, col, select

from fleetwide.bakery.artifact_names import take_apart
from fleetwide.bakery.rosco_artifacts import Upload
from fleetwide.errors import NotFound
from fleetwide.models.bakes import BakedImage, BakeState
from fleetwide.models.os_releases import Channel, OSRelease
from fleetwide.store import channels, events, releases
from fleetwide.store.tables import (
    ArtifactRow,
    BakeRow,
    ChannelRow,
    ImageRow,
    OSReleaseRow,
)

FORGOTTEN = "forgotten"
_DONE = (BakeState.AVAILABLE, BakeState.CACHED)
_FIRST_WORD = re.compile(r"[A-Za-z0-9]+")


def uploads(session: Session, words: str) -> Iterator[Upload]:
    """Uploads whose names begin like ``words``, newest first."""
    start = _FIRST_WORD.match(words)
    if start is None:
        return
    alike = col(ArtifactRow.filename).istartswith(start[0], autoescape=True)
    query = select(ArtifactRow).where(alike)
    newest_first = query.order_by(col(ArtifactRow.uploaded_at).desc(), col(ArtifactRow.sha256))
    for row in session.exec(newest_first):
        yield Upload(row.sha256, take_apart(row.filename))


def release_of_ami(session: Session, image_id: str) -> OSRelease:
    """The OS release that an AMI is.

    Raises:
        NotFound: none is.
    """
    query = select(OSReleaseRow).where(_mentions(OSReleaseRow.release, image_id))
    for row in session.exec(query.order_by(col(OSReleaseRow.id).desc())):
        release = releases.to_model(session, row)
        if any(ami.image_id == image_id for ami in release.amis):
            return release
    raise NotFound(
        f"the AMI {image_id} is no OS release of this platform", hint="fleetwide os list -o wide"
    )


def image_of_ami(session: Session, region: str, image_id: str) -> ImageRow | None:
    """The baked image that has this AMI in a region."""
    for row in session.exec(select(ImageRow).where(_mentions(ImageRow.image, image_id))):
        amis = BakedImage.model_validate(row.image).amis
        if any((ami.region, ami.image_id) == (region, image_id) for ami in amis):
            return row
    return None


def lines(session: Session) -> list[OSRelease]:
    """The release that each line's pipelines get: that of its stable channel, or the candidate."""
    names = session.exec(select(ChannelRow.name).distinct().order_by(ChannelRow.name)).all()
    found = [line(session, name) for name in names]
    return [release for release in found if release is not None]


def line(session: Session, name: str) -> OSRelease | None:
    """The same for one line; None where it has neither."""
    for channel in (Channel.STABLE, Channel.CANDIDATE):
        pointed = channels.get(session, name, channel)
        row = releases.find(session, name, pointed.version) if pointed else None
        if row is not None:
            return releases.to_model(session, row)
    return None


def run(session: Session, run_id: str) -> BakeRow | None:
    """One run of a bake; None until its base was resolved."""
    return session.exec(select(BakeRow).where(BakeRow.run_id == run_id)).first()


def last_success(session: Session, bake_key: str) -> BakeRow | None:
    """The newest run of a bake that ended with its image."""
    query = select(BakeRow).where(BakeRow.bake_key == bake_key, col(BakeRow.state).in_(_DONE))
    return session.exec(query.order_by(col(BakeRow.id).desc())).first()


def forget(session: Session, row: BakeRow, *, now: datetime) -> None:
    """Let the next request for a bake make it anew; its image and its history stay."""
    message = f"{row.name} {row.version} is baked anew when it is asked for again"
    events.append(session, _subject(row.bake_key), FORGOTTEN, message, at=now)


def is_forgotten(session: Session, bake_key: str) -> bool:
    """Whether a bake was forgotten and not made since."""
    found = events.latest(session, FORGOTTEN, subject=_subject(bake_key))
    done = last_success(session, bake_key)
    return any(
        done is None or done.finished_at is None or done.finished_at < one.at for one in found
    )


def _subject(bake_key: str) -> str:
    return f"bake/{bake_key}"


def _mentions(column: Any, image_id: str) -> ColumnElement[bool]:
    """The rows whose document holds the id somewhere; what it is there is looked at afterwards."""
    return cast(column, String).contains(image_id, autoescape=True)

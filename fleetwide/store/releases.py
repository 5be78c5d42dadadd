"""OS releases and the channels that point at them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.baseos import Channel, OSImageSpec, OSRelease, ReleaseState
from fleetwide.store import events
from fleetwide.store.tables import ChannelRow, OSReleaseRow


def find(session: Session, name: str, version: str) -> OSReleaseRow | None:
    """The release of that name and version."""
    query = select(OSReleaseRow).where(OSReleaseRow.name == name, OSReleaseRow.version == version)
    return session.exec(query).first()


def of_run(session: Session, workflow_id: str, run_id: str) -> OSReleaseRow | None:
    """The release that one workflow run builds."""
    query = select(OSReleaseRow).where(
        OSReleaseRow.workflow_id == workflow_id, OSReleaseRow.run_id == run_id
    )
    return session.exec(query).first()


def versions(session: Session, name: str) -> list[str]:
    """Every version that the line has or had."""
    return list(session.exec(select(OSReleaseRow.version).where(OSReleaseRow.name == name)))


def reserve(
    session: Session, release: OSRelease, spec: OSImageSpec, run_id: str, *, now: datetime
) -> OSReleaseRow:
    """Claim name and version for a build; a failed or withdrawn build's claim can be taken over.

    Raises:
        Conflict: another build has the version, or it is released already.
    """
    row = find(session, release.name, release.version)
    if row is None:
        row = OSReleaseRow(
            name=release.name,
            version=release.version,
            workflow_id=release.workflow_id,
            run_id=run_id,
            state=ReleaseState.BUILDING,
            spec={},
            release={},
            created_at=now,
        )
    elif row.run_id != run_id and row.state not in (ReleaseState.FAILED, ReleaseState.WITHDRAWN):
        raise Conflict(
            f"OS release {release.name} {release.version} exists already ({row.state}), "
            f"made by {row.workflow_id}",
            hint="give another version, or none to get the next free one",
        )
    row.workflow_id = release.workflow_id
    row.run_id = run_id
    row.state = ReleaseState.BUILDING
    row.spec = spec.model_dump(mode="json")
    row.release = release.model_dump(mode="json")
    session.add(row)
    message = f"building {release.name} {release.version}"
    events.append(session, release.workflow_id, "building", message, at=now)
    return row


def save(session: Session, release: OSRelease, *, now: datetime) -> None:
    """Write what a build yielded and the state it ended in."""
    row = find(session, release.name, release.version)
    if row is None:
        raise NotFound(f"there is no OS release {release.name} {release.version}")
    row.state = release.state
    row.image_digest = release.image_digest
    row.release = release.model_dump(mode="json", exclude={"channels"})
    row.promoted_at = release.promoted_at
    session.add(row)
    message = f"{release.name} {release.version} is {release.state}"
    events.append(session, release.workflow_id, str(release.state), message, at=now)


def point(
    session: Session, name: str, channel: Channel, version: str, *, now: datetime
) -> str | None:
    """Let the channel point at the version; returns the version it pointed at before."""
    row = session.get(ChannelRow, (name, channel))
    if row is None:
        session.add(ChannelRow(name=name, channel=channel, version=version, updated_at=now))
        return None
    before = row.version
    if before == version:
        return before
    moved = session.exec(
        update(ChannelRow)
        .where(
            col(ChannelRow.name) == name,
            col(ChannelRow.channel) == channel,
            col(ChannelRow.revision) == row.revision,
        )
        .values(version=version, revision=ChannelRow.revision + 1, updated_at=now)
    ).rowcount
    if not moved:
        raise Conflict(f"channel {name}:{channel} was moved by somebody else at the same moment")
    return before


def supersede(session: Session, name: str, version: str) -> None:
    """Mark a release that a newer stable one replaced; a withdrawn one stays withdrawn."""
    row = find(session, name, version)
    if row is not None and row.state == ReleaseState.STABLE:
        row.state = ReleaseState.SUPERSEDED
        session.add(row)


def unpoint(session: Session, name: str, version: str) -> None:
    """Remove every channel that points at the version."""
    query = select(ChannelRow).where(ChannelRow.name == name, ChannelRow.version == version)
    for row in session.exec(query):
        session.delete(row)


def channels(session: Session, name: str | None = None) -> Sequence[ChannelRow]:
    """All channels, of one line or of every line."""
    query = select(ChannelRow).order_by(ChannelRow.name, ChannelRow.channel)
    return session.exec(query if name is None else query.where(ChannelRow.name == name)).all()


def resolve(session: Session, name: str, pointer: str) -> OSReleaseRow:
    """The release that a channel, a version or a digest of the line means.

    Raises:
        NotFound: there is none; the message lists the channels that exist.
    """
    channel = session.get(ChannelRow, (name, pointer))
    version = channel.version if channel else pointer
    query = select(OSReleaseRow).where(OSReleaseRow.name == name)
    if pointer.startswith("sha256:"):
        query = query.where(OSReleaseRow.image_digest == pointer)
    else:
        query = query.where(OSReleaseRow.version == version)
    row = session.exec(query.order_by(col(OSReleaseRow.id).desc())).first()
    if row is None or row.image_digest is None or row.state == ReleaseState.WITHDRAWN:
        known = [f"{name}:{c.channel}" for c in channels(session, name)]
        raise NotFound(
            f"there is no OS release {name}:{pointer}"
            + (f"; there are {', '.join(known)}" if known else f"; line {name} has none yet"),
            hint="fleetwide os list",
        )
    return row


def listing(
    session: Session, *, name: str | None = None, before: int | None = None, limit: int = 50
) -> Sequence[OSReleaseRow]:
    """Releases, newest first; ``before`` is the id of the last row already seen."""
    query = select(OSReleaseRow)
    if name is not None:
        query = query.where(OSReleaseRow.name == name)
    if before is not None:
        query = query.where(col(OSReleaseRow.id) < before)
    return session.exec(query.order_by(col(OSReleaseRow.id).desc()).limit(limit)).all()


def to_model(session: Session, row: OSReleaseRow) -> OSRelease:
    """The row as a model, with the channels that point at it now."""
    pointing = [Channel(c.channel) for c in channels(session, row.name) if c.version == row.version]
    return OSRelease.model_validate({**row.release, "state": row.state, "channels": pointing})

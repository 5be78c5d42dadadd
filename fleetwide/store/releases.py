"""OS releases and the channels that point at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_releases import Channel, OSRelease, ReleaseState
from fleetwide.store import channels, events
from fleetwide.store.tables import ImageDigestRow, ImageRow, JobRow, OSReleaseRow

FINISHED = (
    ReleaseState.CANDIDATE,
    ReleaseState.STABLE,
    ReleaseState.PREVIOUS,
    ReleaseState.SUPERSEDED,
    ReleaseState.HELD,
)
"""States of a release whose image is there and may be used."""
WORTH_KEEPING = (ReleaseState.BUILDING, *FINISHED)
GONE = (ReleaseState.WITHDRAWN, ReleaseState.REVOKED, ReleaseState.RETIRED, ReleaseState.FAILED)

# As ``images`` asks for the image of a key: composed once, and past the ORM.
_DOCUMENT = select(OSReleaseRow.release, OSReleaseRow.state).where(
    col(OSReleaseRow.name) == bindparam("name"), col(OSReleaseRow.version) == bindparam("version")
)


def find(session: Session, name: str, version: str) -> OSReleaseRow | None:
    """The release of that name and version."""
    query = select(OSReleaseRow).where(OSReleaseRow.name == name, OSReleaseRow.version == version)
    return session.exec(query).first()


def document(session: Session, name: str, version: str) -> OSRelease | None:
    """The release of that name and version, without the channels that point at it."""
    found = session.connection().execute(_DOCUMENT, {"name": name, "version": version}).first()
    return OSRelease.model_validate({**found.release, "state": found.state}) if found else None


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
    row.build_key = release.build_key
    row.release = release.model_dump(mode="json", exclude={"channels"})
    row.promoted_at = release.promoted_at
    session.add(row)
    message = f"{release.name} {release.version} is {release.state}"
    events.append(session, release.workflow_id, str(release.state), message, at=now)


def unpoint(session: Session, release: OSRelease, by: str, *, now: datetime) -> None:
    """Take every channel away from a release; its own reason says why."""
    for channel in Channel:
        gone = channels.Move(release.name, channel, release.version, by, release.reason)
        channels.take_away(session, gone, now=now)


def set_state(session: Session, name: str, version: str, state: ReleaseState) -> None:
    """Another state for a release, for example when a newer one takes its place."""
    row = find(session, name, version)
    if row is not None:
        row.state = state
        row.release = {**row.release, "state": state}
        session.add(row)


def same_build(session: Session, name: str, build_key: str, run_id: str) -> OSReleaseRow | None:
    """Another release of the line with the very same bytes, built or being built.

    The line's rows are locked until the end of the transaction, so that of two builds that ask at
    the same moment one sees the other.
    """
    query = select(OSReleaseRow).where(OSReleaseRow.name == name).with_for_update()
    rows = session.exec(query.order_by(col(OSReleaseRow.id).desc())).all()
    return next(
        (
            row
            for row in rows
            if row.build_key == build_key and row.run_id != run_id and row.state in WORTH_KEEPING
        ),
        None,
    )


def set_build_key(session: Session, run_id: str, build_key: str) -> None:
    """Say what the release of a run is made of."""
    query = select(OSReleaseRow).where(OSReleaseRow.run_id == run_id)
    for row in session.exec(query):
        row.build_key = build_key
        session.add(row)


def give_up(session: Session, row: OSReleaseRow, same_as: str, *, now: datetime) -> None:
    """Drop a claim that came to nothing, because the release exists already."""
    message = f"nothing has changed since {row.name} {same_as}; nothing was built"
    events.append(session, row.workflow_id, "noChange", message, at=now)
    session.delete(row)


def building(session: Session) -> Sequence[OSReleaseRow]:
    """Every claim on a version that a build still holds."""
    query = select(OSReleaseRow).where(OSReleaseRow.state == ReleaseState.BUILDING)
    return session.exec(query).all()


def abandon(session: Session, row: OSReleaseRow, reason: str, *, now: datetime) -> None:
    """Book a build as failed whose own workflow cannot do it any more."""
    known = of_run(session, row.workflow_id, row.run_id)
    if known is None or known.state != ReleaseState.BUILDING:
        return
    known.state = ReleaseState.FAILED
    known.release = {**known.release, "state": ReleaseState.FAILED, "reason": reason}
    session.add(known)
    events.append(session, row.workflow_id, "failed", f"{row.name} {row.version}: {reason}", at=now)


@dataclass(frozen=True)
class CloudOwners:
    """Where a line publishes AMIs, and the workflows whose AMIs and snapshots are wanted there."""

    regions: list[str]
    workflow_ids: set[str]


def cloud_owners(session: Session, name: str) -> CloudOwners:
    """Whose things in the cloud stay: builds at work, and releases that were not taken back."""
    rows = session.exec(select(OSReleaseRow).where(OSReleaseRow.name == name)).all()
    regions = {region for row in rows for region in (row.spec.get("ami") or {}).get("regions", [])}
    return CloudOwners(
        sorted(regions), {row.workflow_id for row in rows if row.state in WORTH_KEEPING}
    )


def latest(session: Session, name: str) -> OSReleaseRow | None:
    """The line's newest release that was built and is not taken back."""
    query = select(OSReleaseRow).where(
        OSReleaseRow.name == name, col(OSReleaseRow.state).in_(FINISHED)
    )
    return session.exec(query.order_by(col(OSReleaseRow.id).desc())).first()


def users(session: Session, release: OSRelease) -> tuple[int, int]:
    """How many images stand on a release that are the newest of their name, and how many
    unfinished jobs run on it or on an image that was baked onto it.
    """
    if release.image_digest is None:
        return 0, 0
    baked = session.exec(select(ImageRow).where(ImageRow.base_digest == release.image_digest)).all()
    newest = 0
    for image in baked:
        query = select(ImageRow.bake_key).where(ImageRow.name == image.name)
        last = session.exec(query.order_by(col(ImageRow.created_at).desc())).first()
        newest += last == image.bake_key
    running = select(JobRow.image, JobRow.extra_images).where(col(JobRow.finished_at).is_(None))
    keys = [image.bake_key for image in baked]
    manifests = select(ImageDigestRow.digest).where(col(ImageDigestRow.bake_key).in_(keys))
    digests = {release.image_digest, *session.exec(manifests)}
    jobs = sum(
        any(one.rpartition("@")[2] in digests for one in (image, *(extras or {}).values()))
        for image, extras in session.exec(running)
    )
    return newest, jobs


def finished(session: Session, name: str) -> Sequence[OSReleaseRow]:
    """All releases of the line that were built and are not taken back, newest first."""
    query = select(OSReleaseRow).where(
        OSReleaseRow.name == name, col(OSReleaseRow.state).in_(FINISHED)
    )
    return session.exec(query.order_by(col(OSReleaseRow.id).desc())).all()


def resolve(session: Session, name: str, pointer: str) -> OSReleaseRow:
    """The release that a channel, a version or a digest of the line means.

    Raises:
        NotFound: there is none; the message lists the channels that exist.
    """
    channel = channels.get(session, name, pointer)
    version = channel.version if channel else pointer
    query = select(OSReleaseRow).where(OSReleaseRow.name == name)
    if pointer.startswith("sha256:"):
        query = query.where(OSReleaseRow.image_digest == pointer)
    else:
        query = query.where(OSReleaseRow.version == version)
    row = session.exec(query.order_by(col(OSReleaseRow.id).desc())).first()
    if row is None or row.state == ReleaseState.BUILDING or row.state in GONE:
        known = [f"{name}:{c.channel}" for c in channels.listing(session, name)]
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
    found = channels.listing(session, row.name)
    pointing = [Channel(one.channel) for one in found if one.version == row.version]
    return OSRelease.model_validate({**row.release, "state": row.state, "channels": pointing})

"""Channels: versioned pointers to releases, moved by compare-and-set, with their history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict
from fleetwide.models.os_releases import Channel, ChannelMove
from fleetwide.store.tables import ChannelMoveRow, ChannelRow
from fleetwide.store.upserts import add_new


@dataclass(frozen=True)
class Move:
    """Where a channel shall point, and on whose account."""

    name: str
    channel: Channel
    version: str
    by: str = ""
    reason: str = ""
    expected: str | None = None
    """The version that it must point at now; None means whichever it is."""


def get(session: Session, name: str, channel: str) -> ChannelRow | None:
    """The channel of that line."""
    return session.get(ChannelRow, (name, channel))


def point(session: Session, move: Move, *, now: datetime) -> str | None:
    """Let the channel point at the version; answers the version that it pointed at before.

    Raises:
        Conflict: it does not point at the expected version, or somebody moved it just now.
    """
    row = get(session, move.name, move.channel)
    before = row.version if row else None
    if move.expected is not None and before != move.expected:
        raise Conflict(
            f"channel {move.name}:{move.channel} points at {before or 'nothing'}, "
            f"not at {move.expected}",
            hint=f"fleetwide os channels {move.name}",
        )
    if before == move.version:
        return before
    revision = _last_revision(session, move.name, move.channel) + 1
    if row is None:
        _start(session, move, revision, now)
    else:
        _swap(session, move, row.revision, revision, now)
    _remember(session, move, before, revision, now)
    return before


def _start(session: Session, move: Move, revision: int, now: datetime) -> None:
    row = {
        "name": move.name,
        "channel": move.channel,
        "version": move.version,
        "revision": revision,
        "updated_at": now,
    }
    if not add_new(session, ChannelRow, [row], key=["name", "channel"]):
        raise _moved_meanwhile(move)


def _moved_meanwhile(move: Move) -> Conflict:
    return Conflict(
        f"channel {move.name}:{move.channel} was moved by somebody else at the same moment"
    )


def _swap(session: Session, move: Move, seen: int, revision: int, now: datetime) -> None:
    moved = session.exec(
        update(ChannelRow)
        .where(
            col(ChannelRow.name) == move.name,
            col(ChannelRow.channel) == move.channel,
            col(ChannelRow.revision) == seen,
        )
        .values(version=move.version, revision=revision, updated_at=now)
    ).rowcount
    if not moved:
        raise _moved_meanwhile(move)


def _last_revision(session: Session, name: str, channel: str) -> int:
    query = select(ChannelMoveRow.revision).where(
        ChannelMoveRow.name == name, ChannelMoveRow.channel == channel
    )
    return session.exec(query.order_by(col(ChannelMoveRow.id).desc())).first() or 0


def _remember(
    session: Session, move: Move, before: str | None, revision: int, now: datetime
) -> None:
    session.add(
        ChannelMoveRow(
            name=move.name,
            channel=move.channel,
            version=move.version or None,
            before=before,
            revision=revision,
            by=move.by,
            reason=move.reason,
            at=now,
        )
    )


def take_away(session: Session, gone: Move, *, now: datetime) -> None:
    """Remove the channel where it points at ``gone.version``."""
    row = get(session, gone.name, gone.channel)
    if row is None or row.version != gone.version:
        return
    revision = _last_revision(session, gone.name, gone.channel) + 1
    nowhere = Move(gone.name, gone.channel, "", gone.by, gone.reason)
    _remember(session, nowhere, row.version, revision, now)
    session.exec(
        delete(ChannelRow).where(
            col(ChannelRow.name) == gone.name, col(ChannelRow.channel) == gone.channel
        )
    )


def listing(session: Session, name: str | None = None) -> Sequence[ChannelRow]:
    """All channels, of one line or of every line."""
    query = select(ChannelRow).order_by(ChannelRow.name, ChannelRow.channel)
    return session.exec(query if name is None else query.where(ChannelRow.name == name)).all()


def history(session: Session, name: str, limit: int = 100) -> list[ChannelMove]:
    """The moves of a line's channels, newest first."""
    query = select(ChannelMoveRow).where(ChannelMoveRow.name == name)
    rows = session.exec(query.order_by(col(ChannelMoveRow.id).desc()).limit(limit))
    return [ChannelMove.model_validate(row.model_dump()) for row in rows]

"""The append-only event table: what happened, in one order for all.

On PostgreSQL a number is given when a transaction writes and seen when it commits, so a lower one
may appear after a higher one was read. Readers with a cursor therefore go by transaction first and
number second, and see only events that nothing can come before any more: those of transactions
that are older than every one that is open. On SQLite writers come one after the other, and every
transaction counts as number 0.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, cast, func, insert, text, true, tuple_
from sqlmodel import Session, col, select

from fleetwide.errors import CursorGone
from fleetwide.store.archive_tables import EventHorizonRow
from fleetwide.store.tables import EventRow

_INSERT = insert(EventRow)
# One JSON array of rows: the driver would bind and send each by itself.
_INSERT_MANY = text("""
INSERT INTO event (at, product, subject, kind, message, data)
SELECT at, product, subject, kind, message, data
FROM json_to_recordset(CAST(:rows AS json)) AS many(
  at timestamptz, product text, subject text, kind text, message text, data json
)
""")
MANY = 20
_ORDER = (col(EventRow.xid), col(EventRow.seq))
HORIZON = "events"


def append(
    session: Session,
    subject: str,
    kind: str,
    message: str,
    *,
    at: datetime,
    data: dict[str, Any] | None = None,
) -> None:
    """Record that ``kind`` happened to ``subject`` (a workflow id, or ``host/<id>``)."""
    append_all(session, [values(subject, kind, message, at=at, data=data)])


def append_all(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record several things at once; ``values`` makes each row."""
    if len(rows) >= MANY and session.get_bind().dialect.name == "postgresql":
        told = [{**row, "at": row["at"].isoformat()} for row in rows]
        session.connection().execute(_INSERT_MANY, {"rows": json.dumps(told)})
    elif rows:
        session.connection().execute(_INSERT, list(rows))


def values(
    subject: str, kind: str, message: str, *, at: datetime, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One row of the table."""
    return {
        "at": at,
        "product": subject.split("/", 1)[0],
        "subject": subject,
        "kind": kind,
        "message": message,
        "data": data or {},
    }


def after(
    session: Session,
    seq: int,
    *,
    subject: str | None = None,
    without: str | None = None,
    limit: int = 200,
) -> Sequence[EventRow]:
    """Events behind the one numbered ``seq``, oldest first; from the beginning for 0.

    ``without`` leaves out the products that begin with it.

    None is ever left out: whoever goes on from the last one of an answer sees all. Of events that
    are being written, and of those that come behind them, it tells when their writers have ended.
    """
    query = select(EventRow).where(_settled(session), _behind(session, seq)).order_by(*_ORDER)
    if subject is not None:
        query = query.where(EventRow.subject == subject)
    if without is not None:
        query = query.where(col(EventRow.product).not_like(f"{without}%"))
    return session.exec(query.limit(limit)).all()


def horizon(session: Session) -> EventHorizonRow | None:
    """Up to where old events were deleted; None while none were."""
    return session.get(EventHorizonRow, HORIZON)


def behind_horizon(session: Session, known: EventHorizonRow, *, limit: int) -> Sequence[EventRow]:
    """The first events behind a horizon."""
    behind = tuple_(*_ORDER) > tuple_(known.xid, known.seq)
    query = select(EventRow).where(_settled(session), behind)
    return session.exec(query.order_by(*_ORDER).limit(limit)).all()


def require(session: Session, seq: int) -> None:
    """See that nothing behind the event numbered ``seq`` was deleted; 0 begins with what is kept.

    To be asked after a page was read: what is deleted in between is told then.

    Raises:
        CursorGone: events are missing.
    """
    known = horizon(session)
    if known is None or seq in (0, known.seq):
        return
    xid = _xid(session, seq)
    overtaken = (xid, seq) < (known.xid, known.seq) if xid is not None else seq <= known.highest
    if overtaken:
        raise CursorGone(
            f"events behind number {seq} are deleted: those kept come behind {known.seq}",
            hint="begin anew without a cursor (no Last-Event-ID, cursor=0)",
        )


def behind(session: Session, seq: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions for what ``after`` tells, for a query of other tables as well."""
    return _settled(session), _behind(session, seq)


def of_product(session: Session, seq: int, product: str, *, limit: int = 200) -> Sequence[EventRow]:
    """What ``after`` tells, of one product alone."""
    query = select(EventRow).where(
        _settled(session), _behind(session, seq), EventRow.product == product
    )
    return session.exec(query.order_by(*_ORDER).limit(limit)).all()


def subjects(session: Session, seq: int, *, limit: int) -> list[tuple[int, str]]:
    """Numbers and subjects alone of what ``after`` tells."""
    query = select(EventRow.seq, EventRow.subject).where(_settled(session), _behind(session, seq))
    found = session.exec(query.order_by(*_ORDER).limit(limit))
    return [(number or 0, subject) for number, subject in found]


def newest(session: Session) -> int:
    """The cursor behind everything that ``after`` tells by now; 0 when nothing has happened."""
    query = select(EventRow.seq).where(_settled(session))
    return session.exec(query.order_by(*(one.desc() for one in _ORDER)).limit(1)).first() or 0


def latest(
    session: Session,
    kind: str,
    *,
    subject: str | None = None,
    product: str | None = None,
    before: int | None = None,
    limit: int = 1,
) -> Sequence[EventRow]:
    """Events of one kind by falling number, those from before number ``before`` on."""
    query = select(EventRow).where(EventRow.kind == kind)
    if subject is not None:
        query = query.where(EventRow.subject == subject)
    if product is not None:
        query = query.where(EventRow.product == product)
    if before is not None:
        query = query.where(col(EventRow.seq) < before)
    return session.exec(query.order_by(col(EventRow.seq).desc()).limit(limit)).all()


def _settled(session: Session) -> ColumnElement[bool]:
    """That no open transaction can still write an event before this one."""
    if session.get_bind().dialect.name != "postgresql":
        return true()
    oldest_open = func.pg_snapshot_xmin(func.pg_current_snapshot())
    return col(EventRow.xid) < cast(cast(oldest_open, Text), BigInteger)


def _behind(session: Session, seq: int) -> ColumnElement[bool]:
    xid = _xid(session, seq)
    if xid is None:  # no event has this number: it is somebody's own idea, or was deleted
        known = horizon(session) if seq else None
        if known is None or known.seq != seq:
            return col(EventRow.seq) > seq
        xid = known.xid
    return tuple_(*_ORDER) > tuple_(xid, seq)


def _xid(session: Session, seq: int) -> int | None:
    return session.exec(select(EventRow.xid).where(EventRow.seq == seq)).first()

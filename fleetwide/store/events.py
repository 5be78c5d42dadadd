"""The append-only event table: what happened, in one order for all.

On PostgreSQL a number is given when a transaction writes and seen when it commits, so a lower one
may appear after a higher one was read. Readers with a cursor therefore go by transaction first and
number second, and see only events that nothing can come before any more: those of transactions
that are older than every one that is open. On SQLite writers come one after the other, and every
transaction counts as number 0.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, cast, func, insert, true, tuple_
from sqlmodel import Session, col, select

from fleetwide.store.tables import EventRow

_INSERT = insert(EventRow)
_ORDER = (col(EventRow.xid), col(EventRow.seq))


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
    values = {
        "at": at,
        "product": subject.split("/", 1)[0],
        "subject": subject,
        "kind": kind,
        "message": message,
        "data": data or {},
    }
    session.connection().execute(_INSERT, values)


def after(
    session: Session, seq: int, *, subject: str | None = None, limit: int = 200
) -> Sequence[EventRow]:
    """Events behind the one numbered ``seq``, oldest first; from the beginning for 0.

    None is ever left out: whoever goes on from the last one of an answer sees all. Of events that
    are being written, and of those that come behind them, it tells when their writers have ended.
    """
    query = select(EventRow).where(_settled(session), _behind(session, seq)).order_by(*_ORDER)
    if subject is not None:
        query = query.where(EventRow.subject == subject)
    return session.exec(query.limit(limit)).all()


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
    xid = session.exec(select(EventRow.xid).where(EventRow.seq == seq)).first()
    if xid is None:  # no event has this number: it is somebody's own idea
        return col(EventRow.seq) > seq
    return tuple_(*_ORDER) > tuple_(xid, seq)

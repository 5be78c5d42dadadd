"""The append-only event table: what happened, in one order for all."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from fleetwide.store.tables import EventRow


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
    product = subject.split("/", 1)[0]
    session.add(
        EventRow(
            at=at, product=product, subject=subject, kind=kind, message=message, data=data or {}
        )
    )


def after(
    session: Session, seq: int, *, subject: str | None = None, limit: int = 200
) -> Sequence[EventRow]:
    """Events with a sequence number above ``seq``, oldest first."""
    query = select(EventRow).where(col(EventRow.seq) > seq).order_by(col(EventRow.seq))
    if subject is not None:
        query = query.where(EventRow.subject == subject)
    return session.exec(query.limit(limit)).all()


def newest(session: Session) -> int:
    """The newest sequence number; 0 when nothing has happened yet."""
    query = select(EventRow.seq).order_by(col(EventRow.seq).desc()).limit(1)
    return session.exec(query).first() or 0

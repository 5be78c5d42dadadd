"""What the registry's upkeep told when it ended."""

from sqlmodel import Session, col, select

from fleetwide.store.tables import EventRow

KIND = "upkeep"


def newest(session: Session, kind: str, *, before: int | None = None, limit: int) -> list[EventRow]:
    """Reports of one kind of run, the newest first, from before a sequence number on."""
    query = select(EventRow).where(EventRow.product == f"registry-{kind}", EventRow.kind == KIND)
    if before is not None:
        query = query.where(col(EventRow.seq) < before)
    return list(session.exec(query.order_by(col(EventRow.seq).desc()).limit(limit)))

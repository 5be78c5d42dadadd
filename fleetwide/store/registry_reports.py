"""What the registry's upkeep told when it ended."""

from collections.abc import Sequence

from sqlmodel import Session

from fleetwide.store import events
from fleetwide.store.tables import EventRow

KIND = "upkeep"


def newest(
    session: Session, kind: str, *, before: int | None = None, limit: int
) -> Sequence[EventRow]:
    """Reports of one kind of run, the newest first, from before a sequence number on."""
    return events.latest(session, KIND, product=f"registry-{kind}", before=before, limit=limit)

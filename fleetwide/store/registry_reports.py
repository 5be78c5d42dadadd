"""What the registry's upkeep told when it ended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from fleetwide.models.registry_gc import UpkeepKind
from fleetwide.models.registry_retention import RetentionReport
from fleetwide.store import events
from fleetwide.store.tables import EventRow

KIND = "upkeep"


def newest(
    session: Session, kind: str, *, before: int | None = None, limit: int
) -> Sequence[EventRow]:
    """Reports of one kind of run, the newest first, from before a sequence number on."""
    return events.latest(session, KIND, product=f"registry-{kind}", before=before, limit=limit)


def keep(
    session: Session, kind: UpkeepKind, run: str, report: RetentionReport, *, now: datetime
) -> None:
    """Keep what a run has found by now; ``run`` is its workflow id."""
    data = {"kind": kind, "report": report.brief().model_dump(mode="json")}
    events.append(session, run, KIND, report.sentence, at=now, data=data)


def last(session: Session, run: str) -> RetentionReport | None:
    """What the run of retention with that workflow id told last; None when nothing is kept."""
    rows = events.latest(session, KIND, subject=run)
    return RetentionReport.model_validate(rows[0].data["report"]) if rows else None


def tell_scheduled(
    session: Session, what: str, named: dict[str, Any], *, by: str, now: datetime
) -> None:
    """Note that somebody has changed what the registry does by itself."""
    data = {"by": by, **named}
    events.append(session, "registry-upkeep", "upkeep-scheduled", what, at=now, data=data)

"""What drills count in the books: hosts that ever held more than they have."""

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.store.tables import AttemptRow, HostRow

Span = tuple[datetime, datetime, int]


def most_at_once(spans: Iterable[Span]) -> int:
    """The largest sum of amounts of spans that overlap; one may begin as another ends."""
    steps = [step for start, end, amount in spans for step in ((start, amount), (end, -amount))]
    held = most = 0
    for _, amount in sorted(steps):
        held += amount
        most = max(most, held)
    return most


def held(session: Session) -> dict[str, list[Span]]:
    """Host id to what each of its attempts, which have all ended, held of its milli-CPU."""
    spans: dict[str, list[Span]] = {}
    for row in session.exec(select(AttemptRow).where(col(AttemptRow.host_id).is_not(None))):
        assert row.host_id
        assert row.launched_at
        assert row.finished_at
        spans.setdefault(row.host_id, []).append((row.launched_at, row.finished_at, row.cpu_milli))
    return spans


def overfull(session: Session) -> dict[str, int]:
    """Hosts that ever held more than they have, with how much (milli-CPU)."""
    room = {host.host_id: host.cpu_milli for host in session.exec(select(HostRow))}
    most = {host: most_at_once(spans) for host, spans in held(session).items()}
    return {host: held for host, held in most.items() if held > room[host]}

"""What is old enough to be forgotten: events, and finished jobs in the archive.

Every step is a small transaction of its own, and may be repeated: whoever is killed goes on with
the next one.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile

from sqlalchemy import delete, func, tuple_
from sqlmodel import Session, col, select

from fleetwide.store import events, registry_reports, rosco
from fleetwide.store.archive_tables import ArchivedAttemptRow, ArchivedJobRow, EventHorizonRow
from fleetwide.store.tables import EventRow, JobRow

EVENTS_AT_ONCE = 1000
JOBS_AT_ONCE = 100
ROWS_AT_ONCE = 1000
# Nothing else keeps what these say.
LASTING = frozenset({rosco.FORGOTTEN, registry_reports.KIND})


def prune_events(session: Session, *, before: datetime, now: datetime) -> int:
    """Delete some events from before a time, in the order of streams; how many were looked at.

    Those of jobs that still run stay, and go with the job's record in the archive.
    """
    horizon = events.horizon(session) or EventHorizonRow(
        name=events.HORIZON, seq=0, xid=0, highest=0, pruned_at=now
    )
    newest = session.exec(select(func.max(EventRow.seq))).one()
    found = events.behind_horizon(session, horizon, limit=EVENTS_AT_ONCE)
    # The newest row stays: SQLite would give its number a second time.
    due = list(takewhile(lambda one: one.at < before and one.seq != newest, found))
    if not due:
        return 0
    running = _running(session, {one.subject for one in due})
    gone = [one.seq for one in due if one.kind not in LASTING and one.subject not in running]
    session.exec(delete(EventRow).where(col(EventRow.seq).in_(gone)))
    horizon.seq, horizon.xid, horizon.pruned_at = due[-1].seq or 0, due[-1].xid or 0, now
    horizon.highest = max(horizon.highest, *(one.seq or 0 for one in due))
    session.add(horizon)
    return len(due)


def _running(session: Session, subjects: set[str]) -> set[str]:
    query = select(col(JobRow.workflow_id)).where(
        col(JobRow.workflow_id).in_(subjects), col(JobRow.finished_at).is_(None)
    )
    return set(session.exec(query))


def due_jobs(session: Session, *, archived_before: datetime) -> Sequence[int]:
    """Some jobs whose record in the archive is old enough to go, the oldest first."""
    query = (
        select(col(ArchivedJobRow.id))
        .where(col(ArchivedJobRow.archived_at) < archived_before)
        .order_by(col(ArchivedJobRow.archived_at))
        .limit(JOBS_AT_ONCE)
    )
    return session.exec(query).all()


def drop_attempts(session: Session, job_ids: Sequence[int]) -> int:
    """Delete some attempts of these jobs from the archive; 0 when there are none left."""
    key = (
        col(ArchivedAttemptRow.job_id),
        col(ArchivedAttemptRow.index),
        col(ArchivedAttemptRow.attempt),
    )
    some = select(*key).where(key[0].in_(job_ids)).limit(ROWS_AT_ONCE)
    return session.exec(delete(ArchivedAttemptRow).where(tuple_(*key).in_(some))).rowcount


def drop_events(session: Session, job_ids: Sequence[int]) -> int:
    """Delete some old events of these jobs that stayed while they ran; 0 when none are left."""
    horizon = events.horizon(session)
    if horizon is None:
        return 0
    known = select(col(ArchivedJobRow.workflow_id))
    theirs = known.where(col(ArchivedJobRow.id).in_(job_ids))
    later = known.where(col(ArchivedJobRow.id).not_in(job_ids))
    some = (
        select(col(EventRow.seq))
        .where(
            col(EventRow.subject).in_(theirs),
            col(EventRow.subject).not_in(select(col(JobRow.workflow_id))),
            col(EventRow.subject).not_in(later.where(col(ArchivedJobRow.workflow_id).in_(theirs))),
            tuple_(col(EventRow.xid), col(EventRow.seq)) < tuple_(horizon.xid, horizon.seq),
        )
        .limit(ROWS_AT_ONCE)
    )
    ids = session.exec(some).all()
    return session.exec(delete(EventRow).where(col(EventRow.seq).in_(ids))).rowcount


def drop_jobs(session: Session, job_ids: Sequence[int]) -> None:
    """Delete the records of jobs of which nothing else is left."""
    session.exec(delete(ArchivedJobRow).where(col(ArchivedJobRow.id).in_(job_ids)))

"""The archive of finished jobs. Rows are written there before they go from where jobs run.

Every step is a transaction of its own and may be repeated: whoever is killed between two leaves a
job in both places, where it is found once, and the next turn goes on with it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import delete, exists, func, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, SQLModel, col, select

from fleetwide.store import upserts
from fleetwide.store.archive_tables import ArchivedAttemptRow, ArchivedJobRow
from fleetwide.store.tables import AttemptRow, JobLabelRow, JobRow, WaiterRow

ATTEMPTS_AT_ONCE = 500
Row = TypeVar("Row", bound=SQLModel)


def due(session: Session, *, finished_before: datetime, limit: int) -> list[int]:
    """The numbers of the jobs that are to leave, oldest first.

    The newest rows stay: SQLite would give their numbers a second time.
    """
    query = (
        select(JobRow.id)
        .where(col(JobRow.finished_at) < finished_before, col(JobRow.id).not_in(_newest(session)))
        .order_by(col(JobRow.finished_at))
        .limit(limit)
    )
    return [number for number in session.exec(query) if number is not None]


def _newest(session: Session) -> list[int]:
    """The jobs that the newest job, attempt and waiter belong to."""
    newest_job = session.exec(select(func.max(JobRow.id))).one()
    owners = [
        session.exec(select(table.job_id).order_by(col(table.id).desc()).limit(1)).first()
        for table in (AttemptRow, WaiterRow)
    ]
    return [number for number in (newest_job, *owners) if number is not None]


def copy_attempts(session: Session, job_ids: Sequence[int]) -> int:
    """Copy some attempts that are not in the archive yet; 0 when all are."""
    there = exists().where(
        col(ArchivedAttemptRow.job_id) == AttemptRow.job_id,
        col(ArchivedAttemptRow.index) == AttemptRow.index,
        col(ArchivedAttemptRow.attempt) == AttemptRow.attempt,
    )
    query = select(AttemptRow).where(col(AttemptRow.job_id).in_(job_ids), ~there)
    rows = session.exec(query.order_by(col(AttemptRow.id)).limit(ATTEMPTS_AT_ONCE)).all()
    copies = [
        {"job_id": one.job_id, "index": one.index, "attempt": one.attempt, "row": _dump(one)}
        for one in rows
    ]
    upserts.add_new(session, ArchivedAttemptRow, copies, key=["job_id", "index", "attempt"])
    return len(rows)


def copy_jobs(session: Session, job_ids: Sequence[int], *, now: datetime) -> None:
    """Copy the jobs whose attempts are all in the archive; from here on they are found there."""
    last = _last_attempts(session, job_ids)
    rows = session.exec(select(JobRow).where(col(JobRow.id).in_(job_ids))).all()
    copies = [_copy(job, last.get(job.id or 0), now) for job in rows]
    upserts.add_new(session, ArchivedJobRow, copies, key=["id"])


def drop_attempts(session: Session, job_ids: Sequence[int]) -> int:
    """Delete some attempts of jobs that are in the archive; 0 when there are none left.

    What one of them still holds is given back first, which tells the scheduler of its host.
    """
    archived = exists().where(col(ArchivedJobRow.id) == AttemptRow.job_id)
    some = (
        select_columns(col(AttemptRow.id))
        .where(col(AttemptRow.job_id).in_(job_ids), archived)
        .limit(ATTEMPTS_AT_ONCE)
    )
    ids = session.connection().execute(some).scalars().all()
    these = col(AttemptRow.id).in_(ids)
    session.exec(update(AttemptRow).where(these, col(AttemptRow.reserved)).values(reserved=False))
    return session.exec(delete(AttemptRow).where(these)).rowcount


def drop_jobs(session: Session, job_ids: Sequence[int]) -> None:
    """Delete jobs that are in the archive and have no attempts any more."""
    archived = select_columns(col(ArchivedJobRow.id)).where(col(ArchivedJobRow.id).in_(job_ids))
    for table in (WaiterRow, JobLabelRow):
        session.exec(delete(table).where(col(table.job_id).in_(archived)))
    session.exec(delete(JobRow).where(col(JobRow.id).in_(archived)))


def find(session: Session, workflow_id: str, run_id: str | None) -> JobRow | None:
    """The archived job of one run, or of the newest; not part of the session."""
    query = select(ArchivedJobRow).where(ArchivedJobRow.workflow_id == workflow_id)
    if run_id is not None:
        query = query.where(ArchivedJobRow.run_id == run_id)
    row = session.exec(query.order_by(col(ArchivedJobRow.id).desc()).limit(1)).first()
    return job_of(row) if row else None


def attempts(
    session: Session, job_id: int, first: int = 0, last: int | None = None
) -> list[AttemptRow]:
    """The archived attempts of the children ``first`` to ``last - 1``; not part of the session."""
    query = select(ArchivedAttemptRow).where(
        ArchivedAttemptRow.job_id == job_id, col(ArchivedAttemptRow.index) >= first
    )
    if last is not None:
        query = query.where(col(ArchivedAttemptRow.index) < last)
    order = (col(ArchivedAttemptRow.index), col(ArchivedAttemptRow.attempt))
    return [_load(AttemptRow, one.row) for one in session.exec(query.order_by(*order))]


def count_attempts(session: Session, job_id: int) -> int:
    """How many attempts of a job are in the archive."""
    return session.exec(select(func.count()).where(ArchivedAttemptRow.job_id == job_id)).one()


def job_of(row: ArchivedJobRow) -> JobRow:
    """The job as it was; not part of the session."""
    return _load(JobRow, row.row)


def _last_attempts(session: Session, job_ids: Sequence[int]) -> dict[int, AttemptRow]:
    newest = (
        select_columns(func.max(AttemptRow.id))
        .where(col(AttemptRow.job_id).in_(job_ids))
        .group_by(col(AttemptRow.job_id))
    )
    rows: Iterable[AttemptRow] = session.exec(
        select(AttemptRow).where(col(AttemptRow.id).in_(newest))
    )
    return {row.job_id: row for row in rows}


def _copy(job: JobRow, last: AttemptRow | None, now: datetime) -> dict[str, Any]:
    same = (
        "id", "workflow_id", "run_id", "kind", "app", "owner", "image", "created_at", "service_id",
    )  # fmt: skip
    return {
        **{name: getattr(job, name) for name in same},
        "labels": job.spec.get("labels", {}),
        "reason": last.reason if last else None,
        "host_id": last.host_id if last else None,
        "archived_at": now,
        "row": _dump(job),
    }


def _dump(row: SQLModel) -> dict[str, Any]:
    return row.model_dump(mode="json")


def _load(table: type[Row], values: dict[str, Any]) -> Row:
    return table.model_validate(values)

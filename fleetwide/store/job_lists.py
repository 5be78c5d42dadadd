"""Lists of jobs, newest first: those that run, and behind them the archive."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import archive, labels
from fleetwide.store.archive_tables import ArchivedJobRow
from fleetwide.store.tables import AttemptRow, JobRow

Conditions = list[ColumnElement[bool]]


@dataclass(frozen=True)
class Wanted:
    """Which jobs a list shows; what is not given does not matter."""

    kind: str
    states: Collection[TaskState] = ()
    """Any of these. A task is in the state of its newest attempt; between two it is Accepted."""
    reasons: Collection[EndReason] = ()
    """Any of these, of the newest attempt."""
    host: str | None = None
    """Where the newest attempt is or was."""
    app: str | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of these have to be there."""
    service: str | None = None
    """The service that they are copies of now, or were in the end."""
    image: str | None = None
    """A digest."""
    submitted_after: datetime | None = None
    submitted_before: datetime | None = None


def listing(
    session: Session, wanted: Wanted, *, before: int | None = None, limit: int = 50
) -> Sequence[JobRow]:
    """Jobs, newest first; ``before`` is the number of the last one already seen."""
    rows = {row.id: row for row in _archived(session, wanted, before, limit)}
    rows |= {row.id: row for row in _running(session, wanted, before, limit)}
    return sorted(rows.values(), key=lambda row: row.id or 0, reverse=True)[:limit]


def live(session: Session, wanted: Wanted, *, after: int = 0, limit: int = 50) -> Sequence[JobRow]:
    """Jobs that are not finished, oldest first; ``after`` is the last one already seen."""
    query = select(JobRow).where(
        *_conditions(wanted), col(JobRow.finished_at).is_(None), col(JobRow.id) > after
    )
    return session.exec(query.order_by(col(JobRow.id)).limit(limit)).all()


def matching(session: Session, wanted: Wanted, workflow_ids: Collection[str]) -> set[str]:
    """Those of the workflow ids whose job, wherever it lies, is wanted."""
    ids = sorted(workflow_ids)
    mine = select(JobRow.workflow_id).where(*_conditions(wanted), col(JobRow.workflow_id).in_(ids))
    archived = select(ArchivedJobRow.workflow_id).where(
        *_archived_conditions(wanted), col(ArchivedJobRow.workflow_id).in_(ids)
    )
    return {*session.exec(mine), *session.exec(archived)}


def _running(session: Session, wanted: Wanted, before: int | None, limit: int) -> Sequence[JobRow]:
    query = select(JobRow).where(*_conditions(wanted))
    if before is not None:
        query = query.where(col(JobRow.id) < before)
    return session.exec(query.order_by(col(JobRow.id).desc()).limit(limit)).all()


def _archived(session: Session, wanted: Wanted, before: int | None, limit: int) -> list[JobRow]:
    if wanted.states and TaskState.FINISHED not in wanted.states:
        return []
    query = select(ArchivedJobRow).where(*_archived_conditions(wanted))
    if before is not None:
        query = query.where(col(ArchivedJobRow.id) < before)
    rows = session.exec(query.order_by(col(ArchivedJobRow.id).desc()).limit(limit))
    return [archive.job_of(row) for row in rows]


def _conditions(wanted: Wanted) -> Conditions:
    found = [*_common(wanted, JobRow), labels.carries(wanted.labels)]
    if wanted.states:
        found.append(or_(*(_is_in(state) for state in wanted.states)))
    if wanted.reasons:
        found.append(_newest_attempt(lambda row: col(row.reason).in_(wanted.reasons)))
    if wanted.host is not None:
        found.append(_newest_attempt(lambda row: col(row.host_id) == wanted.host))
    return found


def _archived_conditions(wanted: Wanted) -> Conditions:
    found = _common(wanted, ArchivedJobRow)
    found += [
        col(ArchivedJobRow.labels)[name].as_string() == value
        for name, value in wanted.labels.items()
    ]
    if wanted.reasons:
        found.append(col(ArchivedJobRow.reason).in_(wanted.reasons))
    if wanted.host is not None:
        found.append(col(ArchivedJobRow.host_id) == wanted.host)
    return found


def _common(wanted: Wanted, table: type[JobRow] | type[ArchivedJobRow]) -> Conditions:
    found: Conditions = [col(table.kind) == wanted.kind]
    if wanted.app is not None:
        found.append(col(table.app) == wanted.app)
    if wanted.owner is not None:
        found.append(col(table.owner) == wanted.owner)
    if wanted.service is not None:
        found.append(col(table.service_id) == wanted.service)
    if wanted.image is not None:
        found.append(col(table.image).endswith(f"@{wanted.image}", autoescape=True))
    if wanted.submitted_after is not None:
        found.append(col(table.created_at) >= wanted.submitted_after)
    if wanted.submitted_before is not None:
        found.append(col(table.created_at) < wanted.submitted_before)
    return found


def _is_in(state: TaskState) -> ColumnElement[bool]:
    finished = col(JobRow.finished_at).is_not(None)
    mine = col(AttemptRow.job_id) == col(JobRow.id)
    if state is TaskState.FINISHED:
        return finished
    if state is TaskState.ACCEPTED:
        nowhere = (TaskState.ACCEPTED, TaskState.FINISHED)
        return and_(~finished, ~exists().where(mine, col(AttemptRow.state).not_in(nowhere)))
    return and_(~finished, exists().where(mine, col(AttemptRow.state) == state))


def _newest_attempt(
    meets: Callable[[type[AttemptRow]], ColumnElement[bool]],
) -> ColumnElement[bool]:
    """That the newest attempt of the job meets a condition."""
    later = aliased(AttemptRow)
    newer = exists().where(
        col(later.job_id) == col(AttemptRow.job_id), col(later.id) > col(AttemptRow.id)
    )
    return exists().where(col(AttemptRow.job_id) == col(JobRow.id), meets(AttemptRow), ~newer)

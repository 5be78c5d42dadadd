"""Queues of batch as they stand: read, looked up by the jobs that name them, and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.batch.queues import Inherited, children_of, near, tree_of
from fleetwide.batch.scheduling.tree import Tree
from fleetwide.containers.capacity import Vector
from fleetwide.containers.placement import Dimension
from fleetwide.errors import Conflict, FieldFault, InvalidInput, NotFound
from fleetwide.models.containers import JobKind
from fleetwide.models.queues import Hold, QueueSpec, line_of, short_path
from fleetwide.models.task_states import TaskState
from fleetwide.store.capacity_groups import HELD
from fleetwide.store.queue_tables import QueueChangeRow, QueueRow
from fleetwide.store.tables import AttemptRow, JobRow

FIELD = "queue"
MAX_FORWARDS = 50


@dataclass(frozen=True)
class QueueUse:
    """What the work of a queue and of all below it holds, and how much of it there is."""

    amounts: Vector = (0,) * len(Dimension)
    jobs: int = 0
    running: int = 0
    waiting: int = 0

    def plus(self, other: "QueueUse") -> "QueueUse":
        return QueueUse(
            tuple(one + more for one, more in zip(self.amounts, other.amounts, strict=True)),
            self.jobs + other.jobs,
            self.running + other.running,
            self.waiting + other.waiting,
        )


def listing(session: Session) -> Sequence[QueueRow]:
    """All queues, each before those below it."""
    rows = session.exec(select(QueueRow)).all()
    return sorted(rows, key=lambda row: line_of(row.path)[::-1])


def get(session: Session, path: str) -> QueueRow:
    """The queue of this short path.

    Raises:
        NotFound: there is none; with names that are like it.
    """
    row = session.get(QueueRow, path)
    if row is None:
        raise NotFound(f"there is no queue {path}", hint=_hint(session, path))
    return row


def is_within(path: str, other: str) -> bool:
    """Whether it is the other one, or lies below it."""
    return other in line_of(path)


def spec_of(row: QueueRow) -> QueueSpec:
    """What people wrote."""
    return QueueSpec.model_validate(row.spec)


def specs(session: Session) -> dict[str, QueueSpec]:
    """All queues by their short paths."""
    return {row.path: spec_of(row) for row in session.exec(select(QueueRow)).all()}


def tree(session: Session) -> Tree:
    """All queues as the scheduler reads them."""
    return tree_of(specs(session))


def line(session: Session, path: str) -> Inherited:
    """What holds for the jobs of a queue.

    Raises:
        NotFound: there is no such queue.
    """
    get(session, path)
    above = line_of(path)
    rows = session.exec(select(QueueRow).where(col(QueueRow.path).in_(above))).all()
    return Inherited.of(path, {row.path: spec_of(row) for row in rows})


def lookup(session: Session, path: str, *, priority: int) -> Inherited:
    """What holds for a job of the queue.

    Raises:
        InvalidInput: there is no such queue, it has others below it, or not this priority.
    """
    known = specs(session)
    if path not in known:
        raise InvalidInput.for_field(
            FIELD, "there is no such queue", given=path, hint=_hint(session, path)
        )
    below = children_of(known)[path]
    if below:
        fault = FieldFault(FIELD, f"only queues without others below take jobs, not {path}")
        raise InvalidInput(str(fault), hint=f"one of {', '.join(below[:5])}", fields=(fault,))
    found = Inherited.of(path, known)
    _refuse_priority(found, priority)
    return found


def refuse_drained(session: Session, found: Inherited) -> None:
    """Let a new job pass.

    Raises:
        Conflict: its queue takes none now.
    """
    hold, whose = found.hold()
    if hold is Hold.DRAIN:
        raise Conflict(
            f"queue {found.path} takes no jobs: {whose} is on {hold}",
            hint=_whose_hold(session, whose),
        )


def settle(session: Session, path: str, *, now: datetime) -> tuple[str, datetime | None]:
    """The queue that a new job's row stands in, and until when it may wait for its start.

    The queue stays until the transaction ends: whoever removes it waits, and then sees the job.
    """
    found = resolve(session, path)
    while not _stays(session, found):
        following = resolve(session, path)
        if following == found:
            return found, None  # nobody has made it, or it went with its work
        found = following
    seconds = line(session, found).nearest("pending_ttl_seconds")
    return found, now + timedelta(seconds=seconds) if isinstance(seconds, float) else None


def resolve(session: Session, path: str) -> str:
    """The queue that a job's work stands in: where it went, if the one it names was removed."""
    found = short_path(path)
    for _ in range(MAX_FORWARDS):
        if session.exec(select(QueueRow.path).where(QueueRow.path == found)).first():
            return found
        query = select(QueueChangeRow).where(
            QueueChangeRow.path == found, col(QueueChangeRow.moved_to).is_not(None)
        )
        moved = session.exec(query.order_by(col(QueueChangeRow.id).desc()).limit(1)).first()
        if moved is None or moved.moved_to is None:
            return found
        found = moved.moved_to
    return found


def _stays(session: Session, path: str) -> bool:
    """Whether the queue is there, and stays until the transaction ends."""
    query = select(QueueRow.path).where(QueueRow.path == path)
    return session.exec(query.with_for_update(read=True, key_share=True)).first() is not None


def uses(session: Session) -> dict[str, QueueUse]:
    """What each queue and all below it use by now; those that are not there are left out."""
    own = _uses_of_jobs(session)
    known = {row.path for row in session.exec(select(QueueRow)).all()}
    found = dict.fromkeys(known, QueueUse())
    for path, use in own.items():
        for each in line_of(path):
            if each in found:
                found[each] = found[each].plus(use)
    return found


def open_jobs(session: Session, path: str) -> int:
    """Jobs that name just this queue and have not ended."""
    query = select_columns(func.count()).where(*open_jobs_of(path))
    return int(session.connection().execute(query).scalar_one())


def open_job_ids(session: Session, path: str, *, limit: int) -> list[str]:
    """Workflow ids of some of these jobs, oldest first."""
    query = select(JobRow.workflow_id).where(*open_jobs_of(path)).order_by(col(JobRow.id))
    return list(session.exec(query.limit(limit)).all())


def open_jobs_of(path: str) -> tuple[Any, ...]:
    """What tells jobs that name just this queue and have not ended."""
    return (
        col(JobRow.queue) == path,
        col(JobRow.kind) == JobKind.BATCH,
        col(JobRow.finished_at).is_(None),
    )


def _uses_of_jobs(session: Session) -> Mapping[str, QueueUse]:
    batch = col(JobRow.kind) == JobKind.BATCH
    of_job = col(JobRow.id) == col(AttemptRow.job_id)
    name = col(JobRow.queue)
    jobs = select_columns(name, func.count()).where(batch, col(JobRow.finished_at).is_(None))
    running = select_columns(name, func.count(), *(func.sum(amount) for amount in HELD)).where(
        batch, of_job, col(AttemptRow.reserved).is_(True)
    )
    waiting = select_columns(name, func.count()).where(
        batch, of_job, col(AttemptRow.state) == TaskState.ACCEPTED
    )
    connection = session.connection()
    found: dict[str, QueueUse] = {}

    def add(path: str, use: QueueUse) -> None:
        found[short_path(path)] = found.get(short_path(path), QueueUse()).plus(use)

    for path, count in connection.execute(jobs.group_by(name)):
        add(path, QueueUse(jobs=count))
    for path, count, *amounts in connection.execute(running.group_by(name)):
        add(path, QueueUse(tuple(map(int, amounts)), running=count))
    for path, count in connection.execute(waiting.group_by(name)):
        add(path, QueueUse(waiting=count))
    return found


def _refuse_priority(found: Inherited, priority: int) -> None:
    classes = found.nearest("priority_classes")
    if isinstance(classes, dict) and priority not in classes.values():
        told = ", ".join(f"{number} ({name})" for name, number in sorted(classes.items()))
        raise InvalidInput.for_field(
            "priority",
            f"is no priority class of queue {found.path}",
            given=priority,
            hint=f"one of {told}",
        )


def _whose_hold(session: Session, path: str) -> str:
    row = get(session, path)
    since = f"{row.updated_at:%Y-%m-%d %H:%M} UTC"
    by = f" by {row.by}" if row.by else ""
    return f"since {since}{by}: {row.reason}; fleetwide queue release {path} lets it go on"


def _hint(session: Session, path: str) -> str:
    moved = resolve(session, path)
    if moved != path and session.get(QueueRow, moved) is not None:
        return f"it was removed, and its jobs went to {moved}"
    known = session.exec(select(QueueRow.path)).all()
    alike = near(path, known)
    return f"did you mean {' or '.join(alike)}?" if alike else "fleetwide queue list"

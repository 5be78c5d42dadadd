"""Changes of queues: several together or none, each compared with what was seen, all kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from fleetwide.batch.queues import Specs, children_of, faults
from fleetwide.errors import Conflict, FieldFault, InvalidInput
from fleetwide.models.queues import (
    DEFAULT_QUEUE,
    ROOT,
    QueueChangeSet,
    QueueEdit,
    QueueHistoryItem,
    QueueSpec,
    parent_of,
)
from fleetwide.store import events, queues
from fleetwide.store.queue_tables import QueueChangeRow, QueueRow
from fleetwide.store.tables import JobRow
from fleetwide.validation import from_faults

SHOW = "fleetwide queue show {}"


@dataclass(frozen=True)
class Deed:
    """Who changes what for which reason; ``change_set`` is new for each, or known of a retry."""

    change_set: str
    by: str
    reason: str
    move_to: str | None = None
    """Where open jobs of queues that are removed go; None where there must be none."""
    late_to: str | None = DEFAULT_QUEUE
    """Where those go, without ``move_to``, that were accepted and are booked only afterwards."""


def after(current: Specs, edits: Sequence[QueueEdit]) -> dict[str, QueueSpec]:
    """All queues as they would be."""
    wanted = dict(current)
    for edit in edits:
        if edit.spec is None:
            wanted.pop(edit.path, None)
        else:
            wanted[edit.path] = edit.spec
    return wanted


def refusals(
    session: Session, current: Specs, edits: Sequence[QueueEdit], *, move_to: str | None = None
) -> list[FieldFault]:
    """Why these changes cannot be: of the tree that would come, and of the work that is there."""
    wanted = after(current, edits)
    found = faults(wanted)
    for edit in edits:
        if edit.spec is None and edit.path not in current:
            found.append(FieldFault(edit.path, "there is no such queue to remove"))
        elif edit.spec is None and move_to is None:
            found += _work_of(session, edit.path, "be removed")
        else:
            found += _work_above(session, current, edit.path)
    return found


def stale(session: Session, edits: Sequence[QueueEdit]) -> list[FieldFault]:
    """Which of them expect another revision than there is."""
    found = []
    for edit in edits:
        try:
            _expect(edit, session.get(QueueRow, edit.path))
        except Conflict as fault:
            found.append(FieldFault(edit.path, fault.message))
    return found


def apply(session: Session, wanted: QueueChangeSet, deed: Deed, *, now: datetime) -> None:
    """Let the queues be as ``wanted`` says, all at once; done before, it does nothing.

    Raises:
        Conflict: a queue has another revision than expected.
        InvalidInput: there would be no tree, or work has no queue; every fault is told.
    """
    lock(session, [edit.path for edit in wanted.changes])
    if is_done(session, deed):
        return
    rows = {row.path: row for row in session.exec(select(QueueRow)).all()}
    current = {path: queues.spec_of(row) for path, row in rows.items()}
    for edit in wanted.changes:
        _expect(edit, rows.get(edit.path))
    found = refusals(session, current, wanted.changes, move_to=deed.move_to)
    if found:
        raise from_faults(found, hint="fleetwide queue tree")
    for edit in wanted.changes:
        if edit.spec != current.get(edit.path):
            _write(session, edit, rows.get(edit.path), deed, now)
    session.expire_all()


def remove(session: Session, path: str, revision: int | None, deed: Deed, *, now: datetime) -> None:
    """Remove a queue that has no work, or whose open jobs go to ``deed.move_to``.

    Raises:
        NotFound: there is none of that name.
        Conflict: it has work in it, others below it, or another revision; or is always there.
        InvalidInput: the jobs cannot go where they should.
    """
    lock(session, [path])
    queues.get(session, path)
    known = queues.specs(session)
    refuse_needed(session, path)
    if deed.move_to is None:
        _refuse_work(session, path)
    else:
        _move_jobs(session, path, deed.move_to, known)
    edit = QueueEdit(path=path, revision=revision)
    wanted = QueueChangeSet(changes=[edit], by=deed.by, reason=deed.reason)
    apply(session, wanted, deed, now=now)


def refuse_needed(session: Session, path: str) -> None:
    """Refuse to remove a queue that others need.

    Raises:
        Conflict: it is always there, or others lie below it.
    """
    if path in (ROOT, DEFAULT_QUEUE):
        raise Conflict(f"queue {path} is always there: it cannot be removed")
    below = children_of(queues.specs(session))[path]
    if below:
        raise Conflict(
            f"queue {path} has {len(below)} queues below it: {', '.join(below[:5])}",
            hint=f"fleetwide queue tree {path}",
        )


def history(
    session: Session, path: str, *, before: int | None = None, limit: int = 50
) -> list[QueueHistoryItem]:
    """Changes of a queue, also of one that was removed; newest first."""
    query = select(QueueChangeRow).where(QueueChangeRow.path == path)
    if before is not None:
        query = query.where(col(QueueChangeRow.id) < before)
    rows = session.exec(query.order_by(col(QueueChangeRow.id).desc()).limit(limit)).all()
    return [QueueHistoryItem.model_validate(row.model_dump()) for row in rows]


def _work_above(session: Session, current: Specs, path: str) -> list[FieldFault]:
    """A leaf with work cannot get a queue below it."""
    above = parent_of(path)
    if path in current or above is None or above not in current or children_of(current)[above]:
        return []
    return _work_of(session, above, f"have {path} below it")


def lock(session: Session, paths: Sequence[str]) -> None:
    """Let changes come one after the other: two could be right alone and wrong together.

    Jobs that are booked at this moment for one of ``paths``, or for one above, come first too.
    """
    session.get(QueueRow, ROOT, with_for_update=True, populate_existing=True)
    touched = {path for each in paths for path in (each, parent_of(each))}
    query = select(QueueRow).where(col(QueueRow.path).in_(touched - {None}))
    session.exec(query.order_by(QueueRow.path).with_for_update()).all()


def is_done(session: Session, deed: Deed) -> bool:
    """Whether these changes were made before."""
    query = select(QueueChangeRow.id).where(QueueChangeRow.change_set == deed.change_set)
    return session.exec(query.limit(1)).first() is not None


def _expect(edit: QueueEdit, row: QueueRow | None) -> None:
    there = 0 if row is None else row.revision
    if edit.revision is not None and edit.revision != there:
        has = f"has revision {there}" if there else "is not there"
        raise Conflict(
            f"queue {edit.path} {has}, not revision {edit.revision}: somebody changed it",
            hint=SHOW.format(edit.path),
        )


def _work_of(session: Session, path: str, what: str) -> list[FieldFault]:
    count = queues.open_jobs(session, path)
    if not count:
        return []
    return [FieldFault(path, f"has {count} jobs that have not ended: it cannot {what}")]


def _refuse_work(session: Session, path: str) -> None:
    count = queues.open_jobs(session, path)
    if count:
        raise Conflict(
            f"queue {path} has {count} jobs that have not ended",
            hint=f"fleetwide queue delete {path} --cancel-jobs, or --move-to QUEUE",
        )


def _move_jobs(session: Session, path: str, move_to: str, known: Specs) -> None:
    if move_to == path or move_to not in known or children_of(known)[move_to]:
        raise InvalidInput.for_field(
            "move_to", "must be another queue without others below it", given=move_to
        )
    jobs = update(JobRow).where(*queues.open_jobs_of(path)).values(queue=move_to)
    session.connection().execute(jobs)


def _write(
    session: Session, edit: QueueEdit, row: QueueRow | None, deed: Deed, now: datetime
) -> None:
    before = None if row is None else row.spec
    content = None if edit.spec is None else _content(edit.spec)
    revision = 1 if row is None else row.revision + 1
    if content is None:
        kind = "removed"
        session.connection().execute(delete(QueueRow).where(col(QueueRow.path) == edit.path))
    else:
        kind = "created" if row is None else "changed"
        _put(session, edit.path, content, revision, deed, now)
    change = QueueChangeRow(
        change_set=deed.change_set,
        path=edit.path,
        kind=kind,
        revision=revision,
        by=deed.by,
        reason=deed.reason,
        at=now,
        before=before,
        after=content,
        moved_to=(deed.move_to or deed.late_to) if content is None else None,
    )
    session.add(change)
    words = f"{kind}{f' by {deed.by}' if deed.by else ''}: {deed.reason}"
    data = {"by": deed.by, "reason": deed.reason, "before": before, "after": content}
    events.append(session, f"queue/{edit.path}", kind, words, at=now, data=data)


def _put(
    session: Session, path: str, content: dict[str, Any], revision: int, deed: Deed, now: datetime
) -> None:
    row = session.get(QueueRow, path) or QueueRow(path=path, created_at=now, updated_at=now)
    row.spec, row.revision = content, revision
    row.by, row.reason, row.updated_at = deed.by, deed.reason, now
    session.add(row)
    session.flush()


def _content(spec: QueueSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_defaults=True)

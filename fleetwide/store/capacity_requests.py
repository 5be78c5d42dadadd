"""Requests for capacity: their rows, and what they change of queues. All writes can be repeated."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.batch.capacity_requests import edits
from fleetwide.errors import NotFound
from fleetwide.models.capacity_requests import (
    CapacityNote,
    CapacityRequestSpec,
    CapacityRequestStatus,
    CapacityStep,
    RequestState,
)
from fleetwide.models.queues import QueueChangeSet
from fleetwide.store import events, queue_changes, queues
from fleetwide.store.queue_changes import Deed
from fleetwide.store.queue_tables import CapacityRequestRow


def note(session: Session, told: CapacityNote, *, now: datetime) -> None:
    """Let the row say what the workflow tells; what is older than the row changes nothing."""
    row = session.get(CapacityRequestRow, told.request_id, with_for_update=True)
    if row is not None and row.run_id == told.run_id and row.version >= told.version:
        return
    before = None if row is None else row.state
    fresh = CapacityRequestRow(
        id=told.request_id,
        run_id=told.run_id,
        queue=told.spec.queue,
        state=told.status.state,
        version=told.version,
        spec=told.spec.model_dump(mode="json", exclude_none=True),
        status=told.status.model_dump(mode="json"),
        created_at=now if row is None else row.created_at,
        updated_at=now,
    )
    session.merge(fresh)
    if before != fresh.state:
        _tell(session, told, now)


def change(session: Session, step: CapacityStep, *, now: datetime) -> None:
    """Apply the request to its queues, or give it back; done before, it does nothing.

    Raises:
        InvalidInput: the queues cannot be so; every fault is told.
    """
    asked = step.spec
    queue_changes.lock(session, [each for each in (asked.queue, asked.from_queue) if each])
    deed = Deed(_change_set(step), step.by, step.reason)
    if queue_changes.is_done(session, deed):
        return
    wanted = edits(queues.specs(session), asked, give_back=step.give_back)
    if wanted:
        changes = QueueChangeSet(changes=wanted, by=step.by, reason=step.reason)
        queue_changes.apply(session, changes, deed, now=now)


def get(session: Session, request_id: str) -> CapacityRequestRow:
    """One request.

    Raises:
        NotFound: there is none of that id.
    """
    row = session.get(CapacityRequestRow, request_id)
    if row is None:
        raise NotFound(
            f"there is no capacity request {request_id}", hint="fleetwide capacity-request list"
        )
    return row


def listing(
    session: Session,
    *,
    state: RequestState | None = None,
    queue: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[CapacityRequestRow]:
    """Requests by id, which is by age, newest first."""
    query = select(CapacityRequestRow)
    if state is not None:
        query = query.where(CapacityRequestRow.state == state)
    if queue is not None:
        query = query.where(CapacityRequestRow.queue == queue)
    if before is not None:
        query = query.where(col(CapacityRequestRow.id) < before)
    return session.exec(query.order_by(col(CapacityRequestRow.id).desc()).limit(limit)).all()


def spec_of(row: CapacityRequestRow) -> CapacityRequestSpec:
    return CapacityRequestSpec.model_validate(row.spec)


def status_of(row: CapacityRequestRow) -> CapacityRequestStatus:
    return CapacityRequestStatus.model_validate(row.status)


def _change_set(step: CapacityStep) -> str:
    done = "given-back" if step.give_back else "applied"
    return f"capacity-request/{step.request_id}/{step.run_id}/{done}"


def _tell(session: Session, told: CapacityNote, now: datetime) -> None:
    status = told.status
    by = status.decided_by or told.spec.by
    words = f"{status.state} ({by}): {status.decision or told.spec.reason}"
    subject = f"capacity-request/{told.request_id}"
    data = {"by": by, "queue": told.spec.queue}
    events.append(session, subject, status.state.lower(), words, at=now, data=data)

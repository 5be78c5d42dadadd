"""Relocation plans: which running attempts are to leave their hosts, and what keeps them there.

They are published before anything is moved; the gate alone writes them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, delete, exists

from fleetwide.models.disturbances import OF_HOSTS, Disturbed, Refusal
from fleetwide.models.task_states import TaskState
from fleetwide.store import events
from fleetwide.store.among import among
from fleetwide.store.disruption_gates import Demand, Gates, is_forgotten
from fleetwide.store.disruption_tables import RelocationRow
from fleetwide.store.tables import AttemptRow

SEEN = timedelta(seconds=60)
"""A plan that nothing changes is written down again so rarely."""
ENDED = timedelta(minutes=2)


def note(
    session: Session, found: Gates, one: Disturbed, refusal: Refusal | None, demand: Demand
) -> list[dict[str, Any]]:
    """Write down that it is wanted away; the event that tells its owner so, the first time."""
    now, key = demand.now, found.job(one.attempt_id).key
    row = found.plans.get(one.attempt_id)
    is_new = row is None or is_forgotten(row, now)
    if row is not None and not is_new and not _is_news(row, refusal, now):
        return []
    # Whose host is to be emptied goes for that, whoever else wants its place meanwhile.
    stays = row is not None and row.cause in OF_HOSTS and demand.cause not in OF_HOSTS
    wish = row if row is not None and stays else demand
    told = RelocationRow(
        attempt_id=one.attempt_id,
        budget_key=key,
        host_id=found.wanted[one.attempt_id].host_id or "",
        cause=wish.cause,
        by=wish.by,
        reason=wish.reason,
        since=now if row is None or is_new else row.since,
        asked_at=now,
        not_before=refusal.until if refusal else now,
        refusal=refusal.model_dump(mode="json") if refusal else None,
    )
    found.plans[one.attempt_id] = session.merge(told)
    if not is_new or refusal is None:
        return []
    return [event(key, one, "relocationPlanned", f"is to be moved; {refusal.sentence}", demand)]


def _is_news(row: RelocationRow, refusal: Refusal | None, now: datetime) -> bool:
    was = Refusal.model_validate(row.refusal) if row.refusal else None
    known = (was.code, was.until) if was else None
    return (
        known != ((refusal.code, refusal.until) if refusal else None) or row.asked_at + SEEN <= now
    )


def event(key: str, one: Disturbed, kind: str, what: str, demand: Demand) -> dict[str, Any]:
    """What is told of one attempt, under the job or service whose budget it is."""
    child = f"[{one.key.index}] " if one.kind == "batch" else ""
    copy = f"{one.key.workflow_id} " if one.service_id else ""
    who = f" by {demand.by}" if demand.by else ""
    why = f": {demand.reason}" if demand.reason else ""
    return events.values(
        key,
        kind,
        f"{copy}{child}attempt {one.key.attempt} {what} ({demand.cause}{who}{why})",
        at=demand.now,
        data={
            "attemptId": one.attempt_id,
            "workflowId": one.key.workflow_id,
            "index": one.key.index,
            "cause": demand.cause,
            "by": demand.by,
            "reason": demand.reason,
            "forced": demand.forced,
        },
    )


def forget_host(session: Session, host_id: str) -> None:
    """The host is not to be emptied any more."""
    session.exec(
        delete(RelocationRow).where(
            col(RelocationRow.host_id) == host_id, col(RelocationRow.cause).in_(OF_HOSTS)
        )
    )


def call_off(session: Session, attempt_ids: Sequence[int]) -> None:
    """Nobody wants these away any more, unless their host is to be emptied."""
    session.exec(
        delete(RelocationRow).where(
            among(session, RelocationRow.attempt_id, attempt_ids),
            col(RelocationRow.cause).not_in(OF_HOSTS),
        )
    )


def forget_ended(session: Session, *, now: datetime) -> None:
    """Drop the plans of attempts that have ended."""
    live = exists().where(
        col(AttemptRow.id) == RelocationRow.attempt_id,
        col(AttemptRow.state) != TaskState.FINISHED,
    )
    session.exec(delete(RelocationRow).where(col(RelocationRow.asked_at) < now - ENDED, ~live))

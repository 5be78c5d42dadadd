"""Other budgets for jobs that run: the gate reads the row, so no workflow has to hear of it."""

from datetime import datetime

from sqlmodel import Session

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.disruptions import DisruptionBudgetChange
from fleetwide.store import events, jobs


def change(
    session: Session, workflow_id: str, wanted: DisruptionBudgetChange, *, now: datetime
) -> None:
    """Give a task or a batch job another budget; one event, with who and why.

    Raises:
        NotFound: there is no such job.
        Conflict: it is over, or a copy of a service.
    """
    kind, _, name = workflow_id.partition("/")
    row = jobs.find(session, workflow_id, lock=True)
    if row is None:
        raise NotFound(f"there is no {workflow_id}", hint=f"fleetwide {kind} list")
    if row.service_id is not None:
        raise Conflict(
            f"{workflow_id} is a copy of service {row.service_id}, which has the budget",
            hint=f"fleetwide service deploy {row.service_id} -f SPEC",
        )
    if row.finished_at is not None:
        raise Conflict(f"{workflow_id} is over", hint=f"fleetwide {kind} show {name}")
    budget = wanted.disruption_budget
    told = budget.model_dump(mode="json") if budget else None
    row.spec = {**row.spec, "disruption_budget": told}
    session.add(row)
    who = f" by {wanted.by}" if wanted.by else ""
    message = f"its disruption budget was changed{who}: {wanted.reason}"
    data = {"by": wanted.by, "reason": wanted.reason, "disruptionBudget": told}
    events.append(session, workflow_id, "disruptionBudget", message, at=now, data=data)

"""What is to be moved for the platform's own reasons, and what keeps a task where it is."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from api.deps import CursorDep, LimitQuery, PlatformDep, next_cursor
from api.examples import DISRUPTION_BUDGET
from fleetwide.models.batch import MAX_ARRAY_SIZE
from fleetwide.models.disruptions import DisruptionBudgetChange
from fleetwide.models.documents import Page
from fleetwide.models.relocation_documents import DisruptionDocument, RelocationDocument
from fleetwide.store import clock, disruption_budgets, disruption_views
from fleetwide.store.disruption_views import Plans

router = APIRouter(prefix="/v1", tags=["containers"])

BudgetChange = Annotated[DisruptionBudgetChange, Body(openapi_examples=DISRUPTION_BUDGET)]
Child = Annotated[int, Path(ge=0, lt=MAX_ARRAY_SIZE)]


@router.get("/tasks/{task_id}/disruption")
def task_disruption(platform: PlatformDep, task_id: str) -> DisruptionDocument:
    """A running task's disruption budget, what of it is left, and why it was not moved."""
    return _why(platform, f"task/{task_id}", 0)


@router.get("/batch/jobs/{job_id}/children/{index}/disruption")
def child_disruption(platform: PlatformDep, job_id: str, index: Child) -> DisruptionDocument:
    """The same of a child of a batch job; the budget is the whole job's."""
    return _why(platform, f"batch/{job_id}", index)


@router.put("/tasks/{task_id}/disruption-budget")
def change_task_budget(
    platform: PlatformDep, task_id: str, change: BudgetChange
) -> DisruptionBudgetChange:
    """Give a running task another disruption budget; null for the default of its kind."""
    return _change(platform, f"task/{task_id}", change)


@router.put("/batch/jobs/{job_id}/disruption-budget")
def change_job_budget(
    platform: PlatformDep, job_id: str, change: BudgetChange
) -> DisruptionBudgetChange:
    """Give a running batch job another disruption budget; null for the default of its kind."""
    return _change(platform, f"batch/{job_id}", change)


def _change(
    platform: PlatformDep, workflow_id: str, change: DisruptionBudgetChange
) -> DisruptionBudgetChange:
    with platform.store.write() as session:
        disruption_budgets.change(session, workflow_id, change, now=clock.now(session))
    return change


def _why(platform: PlatformDep, workflow_id: str, index: int) -> DisruptionDocument:
    with platform.store.read() as session:
        now = clock.now(session)
        return disruption_views.why_not_moved(session, workflow_id, index, now=now)


@router.get("/relocations")
def list_relocations(
    platform: PlatformDep,
    cursor: CursorDep,
    host: Annotated[str | None, Query(description="only on this host")] = None,
    budget: Annotated[
        str | None, Query(description="only of this job, for example service/web or task/x")
    ] = None,
    limit: LimitQuery = 50,
) -> Page[RelocationDocument]:
    """Running tasks that are to leave their hosts, and what keeps each there, newest first."""
    wanted = Plans(host_id=host, budget_key=budget, before=cursor, limit=limit)
    with platform.store.read() as session:
        items = disruption_views.listing(session, wanted, now=clock.now(session))
    last = items[-1].attempt_id if items else None
    return Page(items=items, next=next_cursor(items, limit, last))

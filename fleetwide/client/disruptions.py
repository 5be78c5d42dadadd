"""What is to be moved for the platform's own reasons, and what keeps a task where it is."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.disruptions import DisruptionBudgetChange
from fleetwide.models.documents import Page
from fleetwide.models.relocation_documents import DisruptionDocument, RelocationDocument


class DisruptionClient:
    """Disruption budgets and relocation plans."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of_task(self, task_id: str) -> DisruptionDocument:
        """Why a running task was not moved, and what of its budget is left."""
        return self._transport.get(f"/v1/tasks/{segment(task_id)}/disruption", DisruptionDocument)

    def of_child(self, job_id: str, index: int) -> DisruptionDocument:
        """The same of a child of a batch job."""
        path = f"/v1/batch/jobs/{segment(job_id)}/children/{index}/disruption"
        return self._transport.get(path, DisruptionDocument)

    def change_of_task(
        self, task_id: str, change: DisruptionBudgetChange
    ) -> DisruptionBudgetChange:
        """Give a running task another budget."""
        path = f"/v1/tasks/{segment(task_id)}/disruption-budget"
        return self._transport.put(path, DisruptionBudgetChange, body=change)

    def change_of_job(self, job_id: str, change: DisruptionBudgetChange) -> DisruptionBudgetChange:
        """Give a running batch job another budget."""
        path = f"/v1/batch/jobs/{segment(job_id)}/disruption-budget"
        return self._transport.put(path, DisruptionBudgetChange, body=change)

    def relocations(
        self,
        *,
        host: str | None = None,
        budget: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[RelocationDocument]:
        """Running tasks that are to leave their hosts, newest first."""
        query: Query = {"host": host, "budget": budget, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/relocations", Page[RelocationDocument], query)

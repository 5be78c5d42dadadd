"""``RepositoryDeletion``: a repository goes with all that is in it, batch by batch."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.registry_repositories import RepositoryActivities, RepositoryLinks
    from fleetwide.models.registry_documents import (
        DeletionRequest,
        DeletionResult,
        DeletionStep,
        Removed,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.baseos_steps import book
from workflows.policies import BUILD_HEARTBEAT, COMPENSATION, PERSISTENT
from workflows.running import stop_if_cancelled, to_the_end

STORAGE = "storage"
LOOK_LIMIT = timedelta(hours=1)
"""It is asked of each manifest whether something needs it."""
COUNTS_LAST_BATCH = "registry-deletion-counts-last-batch"
UNLINK_LIMIT = timedelta(hours=6)
"""A bucket removes a thousand links a second or so."""


@workflow.defn(name="RepositoryDeletion")
class RepositoryDeletion:
    """A cancel stops between two batches, and what is left can be used again.

    Once nothing is left but the name, the end is no longer stopped.
    """

    def __init__(self) -> None:
        self.result = DeletionResult(repository="")
        self.by = ""
        self.reason = ""

    @workflow.run
    async def run(self, request: DeletionRequest) -> DeletionResult:
        self.result = DeletionResult(repository=request.repository)
        self.by, self.reason = request.by, request.reason
        workflow.upsert_search_attributes(
            attributes.updates({attributes.PRODUCT: "registry", attributes.APP: request.repository})
        )
        try:
            await self._mark(request)
            await self._all("tags", RepositoryActivities.end_repository_tags)
            await self._all("manifests", RepositoryActivities.delete_repository_manifests)
            await self._all("blobs", RepositoryActivities.drop_repository_blobs)
        except BaseException as error:
            if is_cancelled_exception(error):
                await self._stop()
            raise
        await to_the_end(self._finish)
        self.result = self.result.model_copy(update={"finished": True})
        self._show("deleted")
        return self.result

    async def _mark(self, request: DeletionRequest) -> None:
        await workflow.execute_activity_method(
            RepositoryActivities.mark_repository,
            request,
            start_to_close_timeout=LOOK_LIMIT,
            heartbeat_timeout=BUILD_HEARTBEAT,
            retry_policy=PERSISTENT,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"take {request.repository} out of sight",
        )
        stop_if_cancelled()

    async def _all(self, kind: str, activity: Any) -> None:
        """Batch after batch, until there is none left. A cancel waits for what a batch counted."""
        counted = workflow.patched(COUNTS_LAST_BATCH)
        while await (
            to_the_end(lambda: self._batch(kind, activity))
            if counted
            else self._batch(kind, activity)
        ):
            stop_if_cancelled()
        stop_if_cancelled()

    async def _batch(self, kind: str, activity: Any) -> int:
        count: int = await book(activity, self._step(), summary=f"remove some {kind}")
        if count:
            gone = getattr(self.result.removed, kind) + count
            removed = self.result.removed.model_copy(update={kind: gone})
            self.result = self.result.model_copy(update={"removed": removed})
            self._show("is being deleted")
        return count

    async def _finish(self) -> None:
        await workflow.execute_activity_method(
            RepositoryLinks.unlink_repository,
            self.result.repository,
            task_queue=STORAGE,
            start_to_close_timeout=UNLINK_LIMIT,
            heartbeat_timeout=BUILD_HEARTBEAT,
            retry_policy=COMPENSATION,
            summary="remove its links at Distribution",
        )
        finish = RepositoryActivities.finish_deletion
        await book(finish, self._step(), summary="forget its tags and its name")

    async def _stop(self) -> None:
        self._show("stopped")
        stop = RepositoryActivities.stop_deletion
        await book(stop, self._step(), summary="let what is left be used again")

    def _step(self) -> DeletionStep:
        return DeletionStep(
            repository=self.result.repository,
            by=self.by,
            reason=self.reason,
            removed=self.result.removed,
        )

    def _show(self, state: str) -> None:
        removed: Removed = self.result.removed
        workflow.set_current_details(f"**{self.result.repository}** {state}: {removed.sentence}")

    @workflow.query(description="What is gone so far")
    def status(self) -> DeletionResult:
        return self.result

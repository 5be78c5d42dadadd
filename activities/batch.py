"""Batch jobs, control side: how a job stands as a whole; attempts that are asked for no more."""

import asyncio
from datetime import UTC, datetime

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.errors import InvalidInput
from fleetwide.models.batch_control import JobNote, Withdrawal
from fleetwide.models.batch_dependencies import Dependency, DependencyQuestion, DependencyState
from fleetwide.models.batch_states import BatchState
from fleetwide.models.containers import Placements
from fleetwide.providers.admission import pinned_extras, pinned_image
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.image_references import ImageResolver
from fleetwide.store import batch_standings, capacity_groups, job_waits, jobs
from fleetwide.store.scheduling import placement_of
from fleetwide.store.session import Store


class BatchActivities:
    """Needs the database and read access to the registry."""

    def __init__(self, store: Store, registry: RegistryClient) -> None:
        self.store = store
        self.images = ImageResolver(store, registry)

    @activity.defn(name="batch.note")
    def note(self, note: JobNote) -> None:
        """Keep how a job stands, with an event; a job that has no row yet gets it.

        Raises:
            InvalidInput: there is no such capacity group.
            ImageNotFound: the image is not in the registry.
        """
        with self.store.read() as session:
            known = jobs.find(session, note.job.workflow_id, note.job.run_id)
            if known is None:
                capacity_groups.check(session, note.job.capacity_group)
        container = note.job.container
        image = known.image if known else pinned_image(self.images, container)
        extras = None if known else pinned_extras(self.images, container)
        now = datetime.now(UTC)
        with self.store.write() as session:
            job = jobs.ensure(session, note.job, image, now=now, extra_images=extras)
            batch_standings.write(session, job, note, now=now)

    @activity.defn(name="batch.withdraw")
    def withdraw(self, withdrawal: Withdrawal) -> Placements:
        """Take back attempts without a host; those that got one meanwhile are answered."""
        header = withdrawal.job
        with self.store.write() as session:
            job = jobs.find(session, header.workflow_id, header.run_id, lock=True)
            if job is None:
                return Placements(placed=[])
            rows = batch_standings.withdraw(session, job, withdrawal.attempts)
            placed = [placement_of(row, job.image, job.extra_images) for row in rows]
        return Placements(placed=placed)

    @activity.defn(name="batch.dependencies")
    async def dependencies(self, question: DependencyQuestion) -> list[DependencyState]:
        """How the jobs stand that a job waits for; those that run are watched from here on.

        Raises:
            InvalidInput: there is no such job.
        """
        found = [await self._state(each) for each in question.depends_on]
        running = [f"batch/{one.job}" for one in found if one.state is BatchState.RUNNING]
        await asyncio.to_thread(self._watch, question.job.workflow_id, running)
        # One that ended in between would never be told of.
        return [await self._state(each) for each in question.depends_on]

    def _watch(self, workflow_id: str, others: list[str]) -> None:
        with self.store.write() as session:
            job_waits.replace(session, workflow_id, others)

    async def _state(self, other: Dependency) -> DependencyState:
        state = await asyncio.to_thread(self._stored, f"batch/{other.job}")
        state = state or await _told_by_temporal(other.job)
        return DependencyState(job=other.job, condition=other.condition, state=state)

    def _stored(self, workflow_id: str) -> BatchState | None:
        with self.store.read() as session:
            return job_waits.state(session, workflow_id)


async def _told_by_temporal(job_id: str) -> BatchState:
    """How a job stands that has no row: one that just began, or ended before it had any."""
    try:
        known = await activity.client().get_workflow_handle(f"batch/{job_id}").describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        hint = "fleetwide batch list"
        raise InvalidInput(f"depends_on: there is no batch job {job_id}", hint=hint) from error
    if known.status in (None, WorkflowExecutionStatus.RUNNING):
        return BatchState.RUNNING
    ended = known.status is WorkflowExecutionStatus.COMPLETED
    return BatchState.SUCCEEDED if ended else BatchState.FAILED

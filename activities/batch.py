"""Batch jobs, control side: how a job stands as a whole; attempts that are asked for no more."""

from datetime import UTC, datetime

from temporalio import activity

from fleetwide.models.batch_control import JobNote, Withdrawal
from fleetwide.models.containers import Placements
from fleetwide.providers.admission import pinned_extras, pinned_image
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.image_references import ImageResolver
from fleetwide.store import batch_standings, capacity_groups, jobs
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

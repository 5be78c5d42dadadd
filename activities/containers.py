"""Container tasks, control side: ask for hosts, book what came of it. SQL and registry only."""

from datetime import UTC, datetime

from temporalio import activity

from fleetwide.models.containers import (
    AttemptResult,
    FinishJob,
    HostState,
    PlacementRequest,
    Placements,
)
from fleetwide.models.hosts import HostRegistration
from fleetwide.providers.admission import pinned_image
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.image_references import ImageResolver
from fleetwide.store import hosts, jobs
from fleetwide.store.scheduling import placement_of
from fleetwide.store.session import Store
from fleetwide.store.tables import HostRow


class ContainerActivities:
    """Needs the database and read access to the registry."""

    def __init__(self, store: Store, registry: RegistryClient) -> None:
        self.store = store
        self.images = ImageResolver(store, registry)

    @activity.defn(name="containers.place")
    def place(self, request: PlacementRequest) -> Placements:
        """Queue the attempts; the scheduler completes this activity when hosts were found.

        Raises:
            ImageNotFound: the image is not in the registry.
        """
        now = datetime.now(UTC)
        info = activity.info()
        assert info.workflow_run_id is not None
        image = self._pinned(request)
        with self.store.write() as session:
            job = jobs.ensure(session, request.job, image, now=now)
            waiter = jobs.ensure_waiter(
                session, job, info.workflow_run_id, info.activity_id, now=now
            )
            rows = jobs.ensure_attempts(
                session, job, request.job, request.attempts, waiter, now=now
            )
            placed = [placement_of(row, job.image) for row in rows if row.reserved]
            waiter.done = bool(placed)
            session.add(waiter)
        if not placed:
            activity.raise_complete_async()
        return Placements(placed=placed)

    def _pinned(self, request: PlacementRequest) -> str:
        """``repository@digest`` of the image; a job that exists keeps the one it began with."""
        with self.store.read() as session:
            job = jobs.find(session, request.job.workflow_id, request.job.run_id)
        if job is not None:
            return job.image
        return pinned_image(self.images, request.job.container)

    @activity.defn(name="containers.record_attempts")
    def record_attempts(self, results: list[AttemptResult]) -> None:
        """Book ended attempts and give their reservations back."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            for result in results:
                jobs.record_attempt(session, result, now=now)

    @activity.defn(name="containers.finish")
    def finish(self, request: FinishJob) -> None:
        """Book the end of a job; nothing of it stays reserved or waiting."""
        with self.store.write() as session:
            jobs.finish(session, request, now=datetime.now(UTC))

    @activity.defn(name="containers.register_host")
    def register_host(self, registration: HostRegistration) -> None:
        """Make the host known and let it take work."""
        with self.store.write() as session:
            hosts.register(
                session,
                registration.spec,
                docker_version=registration.facts.docker_version,
                now=datetime.now(UTC),
            )

    @activity.defn(name="containers.disconnect_host")
    def disconnect_host(self, host_id: str) -> None:
        """Let the host take no more work until it reports again."""
        self._set_host_state(host_id, HostState.DISCONNECTED)

    @activity.defn(name="containers.remove_host")
    def remove_host(self, host_id: str) -> None:
        """Take the host out of the fleet."""
        self._set_host_state(host_id, HostState.REMOVED)

    def _set_host_state(self, host_id: str, state: HostState) -> None:
        with self.store.write() as session:
            row = session.get(HostRow, host_id)
            if row is not None:
                hosts.set_state(session, row, state, now=datetime.now(UTC))

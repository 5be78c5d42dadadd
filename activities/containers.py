"""Container tasks, control side: ask for hosts, book what came of it. SQL and registry only."""

from datetime import UTC, datetime

from temporalio import activity

from fleetwide.models.containers import (
    AttemptResult,
    FinishJob,
    JobKind,
    PlacementRequest,
    Placements,
)
from fleetwide.models.evictions import AttemptKill
from fleetwide.models.host_moves import HostChange, HostStanding
from fleetwide.models.hosts import HostRegistration, HostState
from fleetwide.providers.admission import pinned_extras, pinned_image
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.image_references import ImageResolver
from fleetwide.store import batch_standings, capacity_groups, clock, hosts, jobs, queues, standings
from fleetwide.store.scheduling import placement_of
from fleetwide.store.session import Store
from fleetwide.temporal.attempt_metrics import count_dropped


class ContainerActivities:
    """Needs the database and read access to the registry."""

    def __init__(self, store: Store, registry: RegistryClient) -> None:
        self.store = store
        self.images = ImageResolver(store, registry)

    @activity.defn(name="containers.place")
    def place(self, request: PlacementRequest) -> Placements:
        """Queue the attempts; the scheduler completes this activity when hosts were found.

        A job that was closed or held meanwhile gets nothing: a call that was given up may come
        late.

        Raises:
            InvalidInput: there is no such capacity group, or no such queue.
            ImageNotFound: the image is not in the registry.
        """
        now = datetime.now(UTC)
        info = activity.info()
        assert info.workflow_run_id is not None
        image, extras = self._pinned(request)
        with self.store.write() as session:
            job = jobs.ensure(session, request.job, image, now=now, extra_images=extras)
            wanted = batch_standings.still_wanted(job, request.attempts)
            if not wanted:
                return Placements(placed=[])
            waiter = jobs.ensure_waiter(
                session, job, info.workflow_run_id, info.activity_id, now=now
            )
            rows = jobs.ensure_attempts(session, job, request.job, wanted, waiter, now=now)
            placed = [
                placement_of(row, job.image, job.extra_images) for row in rows if row.reserved
            ]
            waiter.done = bool(placed)
            session.add(waiter)
        if not placed:
            activity.raise_complete_async()
        return Placements(placed=placed)

    def _pinned(self, request: PlacementRequest) -> tuple[str, dict[str, str]]:
        """``repository@digest`` of the image, and of each extra container's by its name.

        A job that exists keeps those that it began with.
        """
        with self.store.read() as session:
            job = jobs.find(session, request.job.workflow_id, request.job.run_id)
            if job is None:
                capacity_groups.check(session, request.job.capacity_group)
                if request.job.kind is JobKind.BATCH:
                    queue = queues.resolve(session, request.job.queue)
                    queues.lookup(session, queue, priority=request.job.priority)
        if job is not None:
            return job.image, job.extra_images or {}
        container = request.job.container
        return pinned_image(self.images, container), pinned_extras(self.images, container)

    @activity.defn(name="containers.record_attempts")
    def record_attempts(self, results: list[AttemptResult]) -> None:
        """Book ended attempts and give their reservations back."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            outcomes = [jobs.record_attempt(session, result, now=now) for result in results]
        count_dropped(outcomes, activity.metric_meter())

    @activity.defn(name="containers.record_kills")
    def record_kills(self, kills: list[AttemptKill]) -> None:
        """Book that attempts are being stopped; one that has ended meanwhile is left alone."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            outcomes = [jobs.record_kill(session, kill, now=now) for kill in kills]
        count_dropped(outcomes, activity.metric_meter())

    @activity.defn(name="containers.finish")
    def finish(self, request: FinishJob) -> None:
        """Book the end of a job; nothing of it stays reserved or waiting."""
        with self.store.write() as session:
            jobs.finish(session, request, now=datetime.now(UTC))

    @activity.defn(name="containers.register_host")
    def register_host(self, registration: HostRegistration) -> HostStanding:
        """Make the host known; its state is what people want of it."""
        now, host_id = datetime.now(UTC), registration.spec.host_id
        with self.store.write() as session:
            hosts.find_locked(session, host_id)  # before the row of its standing, as all do
            standing = standings.answers(session, host_id, now=now)
            state = HostState(standing.wanted)
            hosts.register(session, registration.spec, registration.facts, state=state, now=now)
            return HostStanding(
                host_id=host_id,
                state=state,
                wanted=state,
                by=standing.by,
                reason=standing.reason,
                since=standing.changed_at,
            )

    @activity.defn(name="containers.disconnect_host")
    def disconnect_host(self, host_id: str) -> None:
        """Let the host take no more work until it reports again."""
        with self.store.write() as session:
            row = hosts.find_locked(session, host_id)
            if row is not None:
                # Compared later with other hosts' silences, and by whoever judges it.
                standings.falls_silent(session, row, now=clock.now(session))

    @activity.defn(name="containers.remove_host")
    def remove_host(self, host_id: str) -> None:
        """Take the host out of the fleet."""
        with self.store.write() as session:
            removal = HostChange(host_id=host_id, wanted=HostState.REMOVED)
            standings.change(session, removal, now=datetime.now(UTC))

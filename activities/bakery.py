"""Bakes in the books: resolve a request, pin what it needs, keep where each run stands."""

from datetime import UTC, datetime

from temporalio import activity

from fleetwide.models.bake_amis import (
    DistributedImage,
    DistributionSpec,
    RecordRegion,
    SweepPlan,
    SweepRequest,
)
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import (
    BakeBooking,
    BakedImage,
    PinDependencies,
    RecordImage,
    ResolvedBake,
)
from fleetwide.store import bakes, images
from fleetwide.store.session import Store


class ImageActivities:
    """Control side: needs the database only.

    A cancel breaks none of them off: what was written is told.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="bakery.resolve_bake", no_thread_cancel_exception=True)
    def resolve_bake(self, spec: BakeSpec) -> ResolvedBake:
        """Pin the base and compute the keys; an image that exists already comes with it."""
        with self.store.read() as session:
            return bakes.resolve(session, spec)

    @activity.defn(name="bakery.pin_dependencies", no_thread_cancel_exception=True)
    def pin_dependencies(self, request: PinDependencies) -> ResolvedBake:
        """Remember what a builder resolved; the first answer to a request stays."""
        with self.store.write() as session:
            pinned = bakes.pin(session, request.bake, request.dependencies, now=datetime.now(UTC))
            return bakes.with_dependencies(session, request.bake, pinned)

    @activity.defn(name="bakery.book_bake", no_thread_cancel_exception=True)
    def book_bake(self, booking: BakeBooking) -> None:
        """Write where this run stands."""
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        run = (info.workflow_id, info.workflow_run_id)
        with self.store.write() as session:
            bakes.book(session, booking, run, now=datetime.now(UTC))

    @activity.defn(name="bakery.find_distributed", no_thread_cancel_exception=True)
    def find_distributed(self, spec: DistributionSpec) -> DistributedImage:
        """The image to distribute, and who may launch it.

        Raises:
            NotFound: there is no such image, or it has no AMI.
        """
        with self.store.read() as session:
            return images.distributed(session, spec.bake_key)

    @activity.defn(name="bakery.widen_image", no_thread_cancel_exception=True)
    def widen_image(self, bake: ResolvedBake) -> BakedImage:
        """Add the regions, accounts and tags of a request to those of its image."""
        with self.store.write() as session:
            return images.widen(session, bake)

    @activity.defn(name="bakery.record_region", no_thread_cancel_exception=True)
    def record_region(self, request: RecordRegion) -> BakedImage:
        """Write how the distribution to one region stands; the image as it is then."""
        with self.store.write() as session:
            return images.record_region(session, request)

    @activity.defn(name="bakery.review_bakes", no_thread_cancel_exception=True)
    def review_bakes(self, _request: SweepRequest) -> SweepPlan:
        """Whose things in the cloud and in the object store are to stay."""
        with self.store.read() as session:
            return bakes.sweep_plan(session)

    @activity.defn(name="bakery.record_image", no_thread_cancel_exception=True)
    def record_image(self, request: RecordImage) -> BakedImage:
        """Write the image to the inventory; doing it again changes nothing."""
        with self.store.write() as session:
            return images.save(session, request.bake, request.image, now=datetime.now(UTC))

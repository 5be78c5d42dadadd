"""``Bake``: deployment artifacts onto an OS release, as a tested image in the registry."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from fleetwide.bakery.distribution import joined, lacks_ami
    from fleetwide.bakery.images import bake_metadata, metadata_changed
    from fleetwide.bakery.outcome import CANCELLED, BakeParts, failure_of, image_of
    from fleetwide.models.bakery import BakeSpec
    from fleetwide.models.bakes import (
        ENDED,
        BakeBooking,
        BakedDisk,
        BakedImage,
        BakeFailure,
        BakeState,
        BakeStatus,
        BuiltLayer,
        PublishBake,
        ResolvedBake,
        SmokeReport,
        StageTime,
    )
    from fleetwide.models.baseos import Target
    from fleetwide.temporal import search_attributes as attributes

from workflows import bake_amis as amis
from workflows import bake_steps as steps
from workflows.bake_details import details
from workflows.baseos_steps import together


@workflow.defn(name="Bake")
class Bake:
    """Resolve, build, test, publish. A bake that was done before answers with its image."""

    spec: BakeSpec
    """Set by ``run``: an ``__init__`` that takes it would hang on a start without input."""

    def __init__(self) -> None:
        self.state = BakeState.PENDING
        self.stages: list[StageTime] = []
        self.bake: ResolvedBake | None = None
        self.offered: BuiltLayer | None = None
        """The layer whose image may lie in the registry."""
        self.image: BakedImage | None = None
        self.failure: BakeFailure | None = None
        self.built = False
        self.told = False
        """Its end is in the books, where it stays while those who joined are served."""
        self.joined: list[BakeSpec] = []

    @workflow.run
    async def run(self, spec: BakeSpec) -> BakedImage:
        self.spec = spec
        try:
            return await self._bake(spec)
        except (Exception, asyncio.CancelledError) as error:
            await self._give_up(error)
            raise

    async def _bake(self, spec: BakeSpec) -> BakedImage:
        self._enter(BakeState.RESOLVING)
        self.bake = bake = await steps.resolve(spec)
        if not bake.pinned:
            await self._go_on(BakeState.RESOLVING)
            self.bake = bake = await steps.pin(bake)
        image = await self._serve(bake)
        # Who joins while the end is booked is served too.
        while self.joined:
            requests, self.joined = self.joined, []
            self.bake = bake = joined(bake, image, requests, built=self.built)
            image = await self._serve(bake)
        return image

    async def _serve(self, bake: ResolvedBake) -> BakedImage:
        """The image for a request, made where there is none that does."""
        if bake.cached is not None and not bake.spec.rebake and not lacks_ami(bake):
            # It was there before: nothing of it is taken back when this comes to nothing.
            self.image = bake.cached
            self.image = image = await self._answer(bake, bake.cached)
        else:
            self.image = image = await self._make(bake)
            self.built = True
        await self._go_on(BakeState.AVAILABLE if self.built else BakeState.CACHED)
        self.told = True
        return image

    async def _answer(self, bake: ResolvedBake, cached: BakedImage) -> BakedImage:
        """The image that there is, with what the request names and it has not got yet."""
        missing = bake.missing
        changed = metadata_changed(cached, bake)
        if not changed and missing is None:
            return cached
        update = await self._relabel(bake, cached) if changed else {}
        if cached.amis and (changed or (missing and missing.tags)):
            await amis.retag(bake, cached)
        if changed:
            image = await steps.record(bake, cached.model_copy(update=update))
        else:
            image = await steps.widen(bake)
        if missing and missing.regions:
            image = await self._distribute(bake, missing.regions)
        return image

    async def _distribute(self, bake: ResolvedBake, regions: list[str]) -> BakedImage:
        await self._go_on(BakeState.DISTRIBUTING)
        await amis.distribute(bake, regions)
        image = await amis.distributed(bake)
        await amis.retire_replaced(bake, image)
        return image

    async def _relabel(self, bake: ResolvedBake, cached: BakedImage) -> dict[str, Any]:
        """What new metadata change: they are a new manifest over the same layers."""
        update: dict[str, Any] = {"metadata": bake_metadata(bake, "")}
        if cached.built is not None:
            now = workflow.now()
            published = await steps.publish(
                PublishBake(bake=bake, built=cached.built, started_at=now, finished_at=now)
            )
            pushed, documents = published.pushed, published.attachments
            assert pushed is not None
            kept = [one for one in cached.attachments if one.key not in {d.key for d in documents}]
            update = {
                "digest": pushed.digest,
                "metadata": pushed.metadata,
                "attachments": [*kept, *documents],
            }
        return update

    async def _make(self, bake: ResolvedBake) -> BakedImage:
        started = workflow.now()
        self.told = False
        await self._go_on(BakeState.BUILDING)
        built, disk = await self._build(bake)
        smoke, disk = await self._test(bake, built, disk)
        await self._go_on(BakeState.PUBLISHING)
        self.offered = built
        parts = BakeParts(built=built, smoke=smoke, disk=disk)
        self.image = image = await self._publish(bake, parts, started)
        if bake.spec.ami is not None:
            image = await self._distribute(bake, bake.spec.ami.regions)
        return image

    async def _build(self, bake: ResolvedBake) -> tuple[BuiltLayer | None, BakedDisk | None]:
        """The faces, side by side; a layer that was baked onto another base is taken as it is."""
        targets = bake.spec.targets
        reusable = bake.reusable if not bake.spec.rebake else None
        built = reusable.built if reusable and Target.CONTAINER in targets else None
        wanted: list[Coroutine[Any, Any, BuiltLayer | BakedDisk]] = []
        if Target.CONTAINER in targets and built is None:
            wanted.append(steps.build_layer(bake))
        if Target.VM in targets:
            wanted.append(amis.build_disk(bake))
        disk = None
        for face in await together(wanted):
            if isinstance(face, BuiltLayer):
                built = face
            else:
                disk = face
        return built, disk

    async def _test(
        self, bake: ResolvedBake, built: BuiltLayer | None, disk: BakedDisk | None
    ) -> tuple[SmokeReport | None, BakedDisk | None]:
        """What the tests told; without any there is no such stage."""
        spec = bake.spec
        started = built if spec.smoke.enabled else None
        booted = disk if spec.ami is not None and spec.ami.boot_test else None
        if started is None and booted is None:
            return None, disk
        await self._go_on(BakeState.TESTING)
        smoke = await steps.smoke_test(bake, started) if started is not None else None
        return smoke, await amis.boot(bake, booted) if booted is not None else disk

    async def _publish(self, bake: ResolvedBake, parts: BakeParts, started: datetime) -> BakedImage:
        published = await steps.publish(
            PublishBake(
                bake=bake,
                built=parts.built,
                disk=parts.disk,
                started_at=started,
                finished_at=workflow.now(),
            )
        )
        image = image_of(bake, parts, published, workflow.info().workflow_id, workflow.now())
        if bake.spec.ami is not None and parts.disk is not None:
            ami = await amis.make_ami(bake, parts.disk, published.attachments)
            image = image.model_copy(update={"amis": [ami]})
        return await steps.record(bake, image)

    async def _give_up(self, error: BaseException) -> None:
        """Book why there is no image, and take away what was made."""
        cause = error.cause if isinstance(error, ActivityError) else error
        if is_cancelled_exception(error):
            self.failure = failure_of(self.state, CANCELLED, "cancelled")
        elif isinstance(cause, ApplicationError):
            self.failure = failure_of(self.state, cause.type or "", cause.message, _hint(cause))
        else:
            self.failure = failure_of(self.state, "", str(cause))
        ended = BakeState.CANCELLED if self.failure.reason == CANCELLED else BakeState.FAILED
        self._enter(ended)
        await self._book()
        bake = self.bake
        if bake is not None and self.image is not None and bake.spec.rebake and bake.spec.ami:
            # Each region keeps the one AMI that the books have there by now.
            await amis.retire_replaced(bake, await amis.shared(bake))
        if self.bake is not None and self.image is None:
            await steps.withdraw(self.bake, self.offered)
            await amis.drop_amis(self.bake)

    async def _go_on(self, state: BakeState) -> None:
        """The next stage, unless a cancel came that the stage before did not hear of."""
        if workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError
        self._enter(state)
        if not self.told or state in ENDED:
            await self._book()

    async def _book(self) -> None:
        if self.bake is not None:
            await steps.book(
                BakeBooking(
                    bake=self.bake, state=self.state, stages=self.stages, failure=self.failure
                )
            )

    def _enter(self, state: BakeState) -> None:
        now = workflow.now()
        if self.state is not state:
            self.stages = [
                stage if stage.ended_at else stage.model_copy(update={"ended_at": now})
                for stage in self.stages
            ]
            self.stages.append(StageTime(stage=state, started_at=now))
        self.state = state
        bake, spec = self.bake, self.spec
        workflow.set_current_details(details(spec, state, bake, self.image, self.failure))
        release = f"{bake.base.name}:{bake.base.version}" if bake else None
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "bakery",
                    attributes.APP: spec.name,
                    attributes.OWNER: spec.owner,
                    attributes.STATE: state,
                    attributes.OS_RELEASE: release,
                    attributes.IMAGE_DIGEST: self.image.digest if self.image else None,
                }
            )
        )

    @workflow.signal(description="Another request with the same bake key")
    def join(self, request: BakeSpec) -> None:
        self.joined.append(request)

    @workflow.query(description="The stage at hand, the stages before, and how it ended")
    def status(self) -> BakeStatus:
        bake = self.bake
        return BakeStatus(
            state=self.state,
            bake_key=bake.bake_key if bake else None,
            base=bake.base if bake else None,
            stages=self.stages,
            failure=self.failure,
            image=self.image,
        )


def _hint(error: ApplicationError) -> str:
    details = error.details[0] if error.details and isinstance(error.details[0], dict) else {}
    return str(details.get("hint", ""))

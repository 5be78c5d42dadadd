"""``Bake``: deployment artifacts onto an OS release, as an image in the registry."""

from datetime import timedelta

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.bakery import BakeActivities, ImageActivities
    from fleetwide.models.bakery import (
        BakedImage,
        BakeSpec,
        BakeStatus,
        RecordImage,
        ResolvedBake,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT, BUILD_HEARTBEAT, BUILDER, BUILDS, PERSISTENT

BAKE_LIMIT = timedelta(hours=1)


@workflow.defn(name="Bake")
class Bake:
    """Resolve, build and push, record. A bake that was done before answers with its image."""

    def __init__(self) -> None:
        self.step = "resolving the base"
        self.resolved: ResolvedBake | None = None
        self.image: BakedImage | None = None

    @workflow.run
    async def run(self, spec: BakeSpec) -> BakedImage:
        self.resolved = await workflow.execute_activity_method(
            ImageActivities.resolve_bake,
            spec,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"resolve {spec.base} and compute the bake key",
        )
        self.image = self.resolved.cached or await self._build(self.resolved)
        self._enter("done: it was baked before" if self.resolved.cached else "done")
        return self.image

    async def _build(self, bake: ResolvedBake) -> BakedImage:
        spec = bake.spec
        kind = spec.artifacts[0].type
        self._enter(f"baking {len(spec.artifacts)} {kind} onto {bake.base.name}")
        built = await workflow.execute_activity_method(
            BakeActivities.build_image,
            bake,
            task_queue=BUILDER,
            start_to_close_timeout=BAKE_LIMIT,
            heartbeat_timeout=BUILD_HEARTBEAT,
            retry_policy=BUILDS,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"write the layer of {spec.name} {spec.version} and push the image",
        )
        self._enter("recording the image")
        return await workflow.execute_activity_method(
            ImageActivities.record_image,
            RecordImage(bake=bake, built=built),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"record {bake.repository}@{built.digest[:19]}",
        )

    def _enter(self, step: str) -> None:
        self.step = step
        assert self.resolved is not None
        bake, image = self.resolved, self.image
        lines = [
            f"**{bake.spec.name} {bake.spec.version}**: {step}",
            f"- base: `{bake.base.name}:{bake.base.version}` (`{bake.base.digest[:19]}`)",
        ]
        if image:
            lines.append(f"- image: `{image.reference}`")
            lines.append(f"- run it: `fleetwide task run --image {image.reference}`")
        workflow.set_current_details("\n".join(lines))
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "bakery",
                    attributes.APP: bake.spec.name,
                    attributes.OWNER: bake.spec.owner,
                    attributes.STATE: "Baked" if image else "Baking",
                    attributes.OS_RELEASE: f"{bake.base.name}:{bake.base.version}",
                    attributes.IMAGE_DIGEST: image.digest if image else None,
                }
            )
        )

    @workflow.query(description="The step at hand, the resolved base, and the image once baked")
    def status(self) -> BakeStatus:
        resolved = self.resolved
        return BakeStatus(
            step=self.step,
            bake_key=resolved.bake_key if resolved else None,
            base=resolved.base if resolved else None,
            image=self.image,
        )

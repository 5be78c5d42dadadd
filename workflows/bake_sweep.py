"""``BakerySweep``: remove what bakes left behind that were cut off."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.bake_amis import BakedAmiActivities
    from activities.bakery import ImageActivities
    from activities.bakes import BakeActivities
    from fleetwide.models.bake_amis import (
        SweepBakes,
        SweepLayers,
        SweepPlan,
        SweepReport,
        SweepRequest,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.bake_steps import on_books
from workflows.baseos_steps import in_cloud, on_builder


@workflow.defn(name="BakerySweep")
class BakerySweep:
    """A bake that ends by itself takes everything back; one that is terminated cannot."""

    @workflow.run
    async def run(self, request: SweepRequest) -> SweepReport:
        workflow.upsert_search_attributes(attributes.updates({attributes.PRODUCT: "bakery"}))
        plan: SweepPlan = await on_books(
            ImageActivities.review_bakes, request, "look which bakes run and which images there are"
        )
        layers: list[str] = await on_builder(
            BakeActivities.sweep_layers,
            SweepLayers(keep=plan.run_ids, dry_run=request.dry_run),
            "look for layers of bakes that were cut off",
        )
        cloud: list[str] = []
        if plan.regions:
            sweep = SweepBakes(
                regions=plan.regions, keep=plan.workflow_ids, dry_run=request.dry_run
            )
            cloud = await in_cloud(
                BakedAmiActivities.sweep_cloud, sweep, "look for AMIs, snapshots and volumes"
            )
        workflow.set_current_details(f"{len(layers)} layers, {len(cloud)} things in the cloud")
        return SweepReport(layers=layers, cloud=cloud, dry_run=request.dry_run)

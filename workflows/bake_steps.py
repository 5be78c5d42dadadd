"""The steps of a bake as calls of activities."""

from typing import Any

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.bakery import ImageActivities
    from activities.bakes import BakeActivities
    from fleetwide.models.bakery import BakeSpec
    from fleetwide.models.bakes import (
        BakeBooking,
        BakedImage,
        BuiltLayer,
        Dependency,
        LayerRequest,
        PinDependencies,
        PublishBake,
        PublishedBake,
        RecordImage,
        ResolvedBake,
        SmokeReport,
        WithdrawBake,
    )

from workflows.baseos_steps import on_builder
from workflows.policies import BOOKING_TIMEOUT, PERSISTENT


async def on_books(activity: Any, argument: Any, summary: str) -> Any:
    """A light step on the database: it must get done, however long the database is away.

    It is local: one event, and nobody waits for a task to be handed out. A cancel waits for its
    answer, or nobody would know what was written.
    """
    return await workflow.execute_local_activity_method(
        activity,
        argument,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


async def resolve(spec: BakeSpec) -> ResolvedBake:
    """The request with its base pinned; its dependencies too where they are known already."""
    bake: ResolvedBake = await on_books(
        ImageActivities.resolve_bake, spec, f"resolve {spec.base} and compute the bake key"
    )
    return bake


async def pin(bake: ResolvedBake) -> ResolvedBake:
    """Find out what the artifacts need, once for each request."""
    found: list[Dependency] = await on_builder(
        BakeActivities.resolve_dependencies, bake, "find out what the artifacts need"
    )
    pinned: ResolvedBake = await on_books(
        ImageActivities.pin_dependencies,
        PinDependencies(bake=bake, dependencies=found),
        f"pin {len(found)} dependencies",
    )
    return pinned


async def build_layer(bake: ResolvedBake) -> BuiltLayer:
    spec = bake.spec
    kind = spec.artifacts[0].type
    built: BuiltLayer = await on_builder(
        BakeActivities.build_layer,
        bake,
        f"put {len(spec.artifacts)} {kind} onto {bake.base.name} {bake.base.version}",
    )
    return built


async def smoke_test(bake: ResolvedBake, built: BuiltLayer) -> SmokeReport:
    report: SmokeReport = await on_builder(
        BakeActivities.smoke_test, LayerRequest(bake=bake, built=built), "start the image"
    )
    return report


async def publish(request: PublishBake) -> PublishedBake:
    """The image and its documents, side by side."""
    bake = request.bake
    what = f"push {bake.repository} {bake.spec.version}, " if request.built else ""
    published: PublishedBake = await on_builder(
        BakeActivities.publish, request, f"{what}write SBOMs and signed provenance"
    )
    return published


async def withdraw(bake: ResolvedBake, built: BuiltLayer | None) -> None:
    """Nothing stays of a layer that never became an image, nor of an image that has no end."""
    request = WithdrawBake(bake=bake, built=built)
    await on_builder(BakeActivities.withdraw, request, "remove what was built")


async def record(bake: ResolvedBake, image: BakedImage) -> BakedImage:
    recorded: BakedImage = await on_books(
        ImageActivities.record_image,
        RecordImage(bake=bake, image=image),
        f"record {image.name} {image.version}",
    )
    return recorded


async def widen(bake: ResolvedBake) -> BakedImage:
    image: BakedImage = await on_books(
        ImageActivities.widen_image, bake, f"add to what is asked for of {bake.spec.name}"
    )
    return image


async def book(booking: BakeBooking) -> None:
    """One event in the history: where the bake stands is for people to read."""
    await workflow.execute_local_activity_method(
        ImageActivities.book_bake,
        booking,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
    )

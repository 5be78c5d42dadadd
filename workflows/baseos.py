"""``OSImageBuild``: one operating system release, from its spec to the stable channel."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.baseos import OSBuildActivities, ReleaseActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.baseos import (
        BuildPlan,
        BuildStatus,
        Channel,
        OSImageSpec,
        OSRelease,
        PromoteRequest,
        PublishImage,
        ReleaseState,
        RootFilesystem,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT, BUILD_HEARTBEAT, BUILDER, BUILDS, PERSISTENT

BUILD_LIMIT = timedelta(hours=2)


@workflow.defn(name="OSImageBuild")
class OSImageBuild:
    """Reserve a version, build, publish, wait as a candidate for the promotion to stable."""

    def __init__(self) -> None:
        self.step = "reserving a version"
        self.release: OSRelease | None = None
        self.promotion: PromoteRequest | None = None

    @workflow.run
    async def run(self, spec: OSImageSpec) -> OSRelease:
        plan: BuildPlan | None = None
        try:
            plan = await workflow.execute_activity_method(
                ReleaseActivities.reserve_release,
                spec,
                start_to_close_timeout=BOOKING_TIMEOUT,
                retry_policy=PERSISTENT,
                summary=f"claim a version of {spec.name}",
            )
            await self._build(spec, plan)
            await self._await_promotion(spec)
        except BaseException as error:
            if plan is not None:
                cancelled = is_cancelled_exception(error)
                await self._withdraw(plan, cancelled=cancelled)
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        assert self.release is not None
        return self.release

    async def _build(self, spec: OSImageSpec, plan: BuildPlan) -> None:
        self._enter(f"building {spec.distribution} {spec.suite}", spec, plan)
        rootfs = await workflow.execute_activity_method(
            OSBuildActivities.build_rootfs,
            plan,
            task_queue=BUILDER,
            start_to_close_timeout=BUILD_LIMIT,
            heartbeat_timeout=BUILD_HEARTBEAT,
            retry_policy=BUILDS,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"build {spec.distribution} {spec.suite} ({spec.variant}, "
            f"{len(spec.packages)} more packages) and push it as a layer",
        )
        self._enter("publishing the image", spec, plan)
        image = await workflow.execute_activity_method(
            OSBuildActivities.publish_image,
            PublishImage(plan=plan, layer=rootfs.layer),
            task_queue=BUILDER,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=BUILDS,
            summary=f"publish {plan.repository}:{plan.tag}",
        )
        self.release = _release(plan, rootfs, image.digest)
        await workflow.execute_activity_method(
            ReleaseActivities.save_release,
            self.release,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="enter the candidate channel",
        )
        self._enter("a candidate; waiting for its promotion", spec, plan)

    async def _await_promotion(self, spec: OSImageSpec) -> None:
        """Stay open for the ``promote`` update; without one the release stays a candidate."""
        try:
            await workflow.wait_condition(
                lambda: self.promotion is not None,
                timeout=timedelta(days=spec.promotion_window_days),
                timeout_summary="the release is a candidate until it is promoted",
            )
        except TimeoutError:
            self.step = "not promoted in time; it stays a candidate"
            return
        assert self.release is not None
        self.release = await workflow.execute_activity_method(
            ReleaseActivities.promote_release,
            self.release,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="point the stable channel at the release",
        )
        self._enter("stable", spec, None)

    async def _withdraw(self, plan: BuildPlan, *, cancelled: bool) -> None:
        state = ReleaseState.WITHDRAWN if cancelled else ReleaseState.FAILED
        release = self.release or _release(plan, None, None)
        await workflow.execute_activity_method(
            ReleaseActivities.withdraw_release,
            release.model_copy(update={"state": state}),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"book the release as {state}",
        )

    def _enter(self, step: str, spec: OSImageSpec, plan: BuildPlan | None) -> None:
        self.step = step
        release = self.release
        lines = [f"**{spec.name}**: {step}"]
        if plan:
            lines.append(f"- version: `{plan.version}`")
        if release and release.image_digest:
            lines.append(f"- image: `{release.reference}`, {release.package_count} packages")
        if release and release.state is ReleaseState.CANDIDATE:
            lines.append(f"- promote: `fleetwide os promote {release.name} {release.version}`")
        workflow.set_current_details("\n".join(lines))
        version = plan.version if plan else (release.version if release else "")
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "baseos",
                    attributes.APP: spec.name,
                    attributes.OWNER: spec.owner,
                    attributes.STATE: release.state if release else ReleaseState.BUILDING,
                    attributes.OS_RELEASE: f"{spec.name}:{version}",
                    attributes.IMAGE_DIGEST: release.image_digest if release else None,
                }
            )
        )

    @workflow.query(description="The step at hand, and the release once it is built")
    def status(self) -> BuildStatus:
        state = self.release.state if self.release else ReleaseState.BUILDING
        return BuildStatus(state=state, step=self.step, release=self.release)

    @workflow.update(description="Point the stable channel at this release")
    async def promote(self, request: PromoteRequest) -> OSRelease:
        self.promotion = request
        await workflow.wait_condition(
            lambda: self.release is not None and self.release.state is ReleaseState.STABLE
        )
        assert self.release is not None
        return self.release

    @promote.validator
    def _promote_is_possible(self, request: PromoteRequest) -> None:
        if request.channel is not Channel.STABLE:
            raise ApplicationError(
                f"channel: must be {Channel.STABLE} (given: {request.channel})",
                type=ErrorCode.INVALID_INPUT,
                non_retryable=True,
            )
        if self.release is None or self.release.state is not ReleaseState.CANDIDATE:
            raise ApplicationError(
                f"the release cannot be promoted now: {self.step}",
                type=ErrorCode.CONFLICT,
                non_retryable=True,
            )


def _release(plan: BuildPlan, rootfs: RootFilesystem | None, image_digest: str | None) -> OSRelease:
    return OSRelease(
        name=plan.name,
        version=plan.version,
        workflow_id=plan.workflow_id,
        state=ReleaseState.CANDIDATE,
        distribution=plan.spec.distribution,
        suite=plan.spec.suite,
        architecture=plan.spec.architecture,
        variant=plan.spec.variant,
        packages=plan.spec.packages,
        repository=plan.repository,
        image_digest=image_digest,
        layer=rootfs.layer if rootfs else None,
        package_count=len(rootfs.packages) if rootfs else 0,
        uncompressed_size=rootfs.uncompressed_size if rootfs else 0,
        source_date_epoch=plan.source_date_epoch,
        created_at=workflow.now(),
    )

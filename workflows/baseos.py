"""``OSImageBuild``: one operating system release, from its spec to its retirement."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.baseos import ReleaseActivities
    from activities.baseos_amis import AmiActivities
    from activities.baseos_builds import OSBuildActivities
    from fleetwide.baseos.gates import obstacles, soak_ends
    from fleetwide.errors import ErrorCode
    from fleetwide.models.baseos import BuildPlan, OSImageSpec, Target
    from fleetwide.models.os_releases import (
        BuildOutcome,
        BuildStatus,
        BuiltDisk,
        Channel,
        LockedPlan,
        OSRelease,
        PromoteRequest,
        ReleaseState,
        RootFilesystem,
        StandRequest,
    )
    from fleetwide.models.os_steps import AttachDocuments, Moved, ReleaseMove
    from fleetwide.temporal import search_attributes as attributes

from workflows import baseos_steps as steps
from workflows.baseos_details import details

# A release that nobody can use any more has no lifecycle left.
ENDED = frozenset(
    {
        ReleaseState.REVOKED,
        ReleaseState.RETIRED,
        ReleaseState.WITHDRAWN,
        ReleaseState.FAILED,
    }
)
HOLDABLE = (ReleaseState.CANDIDATE, ReleaseState.PREVIOUS, ReleaseState.SUPERSEDED)
RETIRABLE = (ReleaseState.CANDIDATE, ReleaseState.SUPERSEDED, ReleaseState.HELD)
# What a release falls to when others take its place; of two words the later one counts.
FALLS = (ReleaseState.STABLE, ReleaseState.PREVIOUS, ReleaseState.SUPERSEDED)


@workflow.defn(name="OSImageBuild")
class OSImageBuild:
    """Lock, build, test, publish; then serve promotions until the release is retired."""

    spec: OSImageSpec
    """Set by ``run``: an ``__init__`` that takes it would hang on a start without input."""

    def __init__(self) -> None:
        self.step = "reserving a version"
        self.plan: BuildPlan | None = None
        self.locked: LockedPlan | None = None
        self.release: OSRelease | None = None
        self.refused = False
        self.moving = asyncio.Lock()

    @workflow.run
    async def run(self, spec: OSImageSpec) -> OSRelease:
        self.spec = spec
        try:
            release = await self._build(spec)
            if release.outcome is BuildOutcome.NO_CHANGE:
                return release
            await self._serve()
        except (Exception, asyncio.CancelledError) as error:
            await self._give_up(cancelled=is_cancelled_exception(error), why=_why(error))
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        assert self.release is not None
        return self.release

    async def _build(self, spec: OSImageSpec) -> OSRelease:
        self.plan = plan = await steps.book(
            ReleaseActivities.reserve_release, spec, summary=f"claim a version of {spec.name}"
        )
        self._go_on(f"resolving the packages of {spec.distribution} {spec.suite}")
        self.locked = locked = await steps.lock_packages(plan)
        same: OSRelease | None = await steps.book(
            ReleaseActivities.find_unchanged, locked, summary="look for a release with these bytes"
        )
        if same is not None:
            self.plan = None  # the claim is given up
            self._enter(f"no change: {same.name} {same.version} is the same", same)
            return same
        self._go_on(f"fetching {locked.lock.package_count} packages")
        self.locked = locked = await steps.fetch_packages(locked)
        started = workflow.now()
        container, vm = await self._build_faces(locked)
        release = _release(plan, locked, container, vm)
        if vm is not None and spec.tests.boot:
            self._go_on("booting the VM image", release)
            boot = await steps.test_boot(locked, vm.disk)
            release = release.model_copy(update={"boot": boot})
        if container is not None:
            self._go_on("publishing the container base", release)
            image = await steps.publish_image(locked, container)
            release = release.model_copy(update={"image_digest": image.digest})
        self._go_on("writing SBOMs and provenance", release)
        request = AttachDocuments(
            locked=locked,
            image_digest=release.image_digest,
            layer=release.layer,
            disk=release.disk,
            started_at=started,
            finished_at=workflow.now(),
        )
        attachments = await steps.attach_documents(request)
        release = release.model_copy(update={"attachments": attachments})
        if spec.ami is not None:
            self._go_on(f"publishing AMIs in {', '.join(spec.ami.regions)}", release)
            parent = await steps.find_release(plan.name, plan.parent)
            amis = await steps.publish_amis(locked, release, parent)
            release = release.model_copy(update={"amis": amis})
        self._go_on("entering the candidate channel", release)
        self.release = await steps.book(
            ReleaseActivities.save_release, release, summary="enter the candidate channel"
        )
        assert self.release is not None
        return self.release

    async def _build_faces(
        self, locked: LockedPlan
    ) -> tuple[RootFilesystem | None, BuiltDisk | None]:
        """The targets, side by side: they share nothing but the lock."""
        targets = locked.plan.spec.targets
        self._go_on(f"building {' and '.join(targets)}")
        wanted: list[Coroutine[Any, Any, RootFilesystem | BuiltDisk]] = [
            steps.build_container(locked) if target is Target.CONTAINER else steps.build_vm(locked)
            for target in Target
            if target in targets
        ]
        built: dict[type, object] = {type(one): one for one in await steps.together(wanted)}
        container, vm = built.get(RootFilesystem), built.get(BuiltDisk)
        assert container is None or isinstance(container, RootFilesystem)
        assert vm is None or isinstance(vm, BuiltDisk)
        return container, vm

    async def _serve(self) -> None:
        """Stay for promotions, holds and revocations, until the release is retired or revoked."""
        self._go_on("a candidate")
        while not self._is_over():
            self._stop_if_cancelled()
            soak = self._soak_left()
            if soak is None:
                await workflow.wait_condition(
                    lambda: self._is_over() or self._soak_left() is not None
                )
            elif soak > timedelta():
                with suppress(TimeoutError):
                    await workflow.wait_condition(
                        lambda: self._is_over() or self._soak_left() is None,
                        timeout=soak,
                        timeout_summary="promoted by itself when the soak is over",
                    )
            else:
                await self._promote_by_itself()

    def _is_over(self) -> bool:
        return self.release is not None and self.release.state in ENDED

    def _soak_left(self) -> timedelta | None:
        """Time until the release promotes itself; None when it will not."""
        release = self.release
        if release is None or not self.spec.promotion.automatic:
            return None
        if release.state is not ReleaseState.CANDIDATE or self.refused:
            return None
        ends = soak_ends(self.spec, release)
        return ends - workflow.now() if ends else None

    async def _promote_by_itself(self) -> None:
        try:
            request = PromoteRequest(reason="its soak is over", by="fleetwide")
            await self._promote(request, forward_only=True)
        except (ApplicationError, ActivityError) as error:
            if is_cancelled_exception(error):
                raise
            self.refused = True
            self._enter(f"not promoted by itself: {_why(error)}")

    async def _promote(self, request: PromoteRequest, *, forward_only: bool) -> OSRelease:
        async with self.moving:
            release = self._check_gates(request)
            unseen: list[str] = []
            if release.amis:
                unseen = await steps.in_cloud(
                    AmiActivities.find_invisible, release.amis, "see that every region has the AMI"
                )
            if unseen:
                raise _conflict(f"its AMI cannot be launched in {', '.join(unseen)} now")
            moved: Moved = await steps.book(
                ReleaseActivities.move_channel,
                ReleaseMove(
                    release=release,
                    channel=request.channel,
                    expected=request.expected,
                    forward_only=forward_only,
                    by=request.by,
                    reason=request.reason,
                ),
                summary=f"point the {request.channel} channel at {release.version}",
            )
            self.release = moved.release
            self._enter("stable")
            await self._tell(moved.displaced_workflow_id, ReleaseState.PREVIOUS)
            await self._tell(moved.superseded_workflow_id, ReleaseState.SUPERSEDED)
        return self.release

    async def _tell(self, workflow_id: str | None, state: ReleaseState) -> None:
        """The books have it already; the other workflow's page shall say it too, if it is open."""
        if workflow_id is None:
            return
        other = workflow.get_external_workflow_handle(workflow_id)
        try:
            await other.signal("displaced", state)
        except FailureError:
            return

    async def _give_up(self, *, cancelled: bool, why: str) -> None:
        """Take back what was made; a release that people may use already stays as it is.

        An update that is at work is waited for, and those behind it are refused.
        """
        if self.plan is None:
            return
        async with self.moving:
            state = self.release.state if self.release else ReleaseState.BUILDING
            if state not in (ReleaseState.BUILDING, ReleaseState.CANDIDATE):
                return
            amis = self.release.amis if self.release else []
            release = self.release or _release(self.plan, self.locked, None, None)
            update = {
                "state": ReleaseState.WITHDRAWN if cancelled else ReleaseState.FAILED,
                "reason": "cancelled" if cancelled else why[:500],
                "amis": [],
            }
            self.release = release.model_copy(update=update)
            await self._book_end(self.release)
            self._enter(f"{self.release.state}: {self.release.reason}")
            if self.locked is not None:
                await steps.drop_amis(self.locked, amis)

    async def _book_end(self, release: OSRelease, by: str = "") -> None:
        await steps.book(
            ReleaseActivities.withdraw_release,
            release,
            by,
            summary=f"book the release as {release.state}",
        )

    def _check_gates(self, request: PromoteRequest) -> OSRelease:
        if request.channel is not Channel.STABLE:
            raise ApplicationError(
                f"channel: must be {Channel.STABLE}, the others follow (given: {request.channel})",
                type=ErrorCode.INVALID_INPUT,
                non_retryable=True,
            )
        against = obstacles(self.spec, self.release, workflow.now(), emergency=request.emergency)
        if against:
            raise _conflict(f"the release cannot be promoted: {'; '.join(against)}")
        assert self.release is not None
        return self.release

    def _go_on(self, step: str, release: OSRelease | None = None) -> None:
        """The build's next step, unless a cancel came that the step before did not hear of."""
        self._stop_if_cancelled()
        self._enter(step, release)

    def _stop_if_cancelled(self) -> None:
        if workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError

    def _enter(self, step: str, release: OSRelease | None = None) -> None:
        self.step = step
        shown = release or self.release
        workflow.set_current_details(details(self.spec.name, step, self.plan, shown))
        version = shown.version if shown else self.plan.version if self.plan else ""
        building = shown is None or self.release is None
        state = ReleaseState.BUILDING if building or shown is None else shown.state
        if shown is not None and shown.outcome is BuildOutcome.NO_CHANGE:
            state = shown.state
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "baseos",
                    attributes.APP: self.spec.name,
                    attributes.OWNER: self.spec.owner,
                    attributes.STATE: state,
                    attributes.OS_RELEASE: f"{self.spec.name}:{version}",
                    attributes.IMAGE_DIGEST: shown.image_digest if shown else None,
                }
            )
        )

    @workflow.query(description="The step at hand, and the release once it is built")
    def status(self) -> BuildStatus:
        state = self.release.state if self.release else ReleaseState.BUILDING
        return BuildStatus(state=state, step=self.step, release=self.release)

    @workflow.update(description="Point the stable channel at this release")
    async def promote(self, request: PromoteRequest) -> OSRelease:
        return await self._promote(request, forward_only=False)

    @promote.validator
    def _promote_is_possible(self, request: PromoteRequest) -> None:
        self._check_gates(request)

    @workflow.update(description="Keep this release from promotion until unhold")
    async def hold(self, request: StandRequest) -> OSRelease:
        async with self.moving:
            release = self._must_be(*HOLDABLE, verb="held")
            update = {"state": ReleaseState.HELD, "reason": _reason(request)}
            held = release.model_copy(update=update)
            return await self._stand(ReleaseActivities.save_release, held, request)

    @hold.validator
    def _hold_is_possible(self, request: StandRequest) -> None:  # noqa: ARG002
        self._must_be(*HOLDABLE, verb="held")

    @workflow.update(description="Let a held release be promoted again")
    async def unhold(self, request: StandRequest) -> OSRelease:
        async with self.moving:
            release = self._must_be(ReleaseState.HELD, verb="let go")
            return await self._stand(ReleaseActivities.let_go, release, request)

    @unhold.validator
    def _unhold_is_possible(self, request: StandRequest) -> None:  # noqa: ARG002
        self._must_be(ReleaseState.HELD, verb="let go")

    @workflow.update(description="Nobody may use this release any more; its channels go")
    async def revoke(self, request: StandRequest) -> OSRelease:
        async with self.moving:
            self._must_be(*ReleaseState, verb="revoked")
            return await self._end(ReleaseState.REVOKED, request)

    @revoke.validator
    def _revoke_is_possible(self, request: StandRequest) -> None:  # noqa: ARG002
        self._must_be(*ReleaseState, verb="revoked")

    @workflow.update(description="Remove this release: its AMIs, its disk, its channels")
    async def retire(self, request: StandRequest) -> OSRelease:
        async with self.moving:
            self._must_be(*RETIRABLE, verb="retired")
            return await self._end(ReleaseState.RETIRED, request)

    @retire.validator
    def _retire_is_possible(self, request: StandRequest) -> None:  # noqa: ARG002
        self._must_be(*RETIRABLE, verb="retired")

    @workflow.signal(description="Other releases took this one's place")
    async def displaced(self, state: ReleaseState) -> None:
        async with self.moving:
            if self.release is not None and _falls(self.release.state, state):
                self.release = self.release.model_copy(update={"state": state})
                self._enter(f"{state}: a newer release is stable")

    @workflow.signal(description="The retention policy lets this release go")
    async def retire_unused(self, request: StandRequest) -> None:
        async with self.moving:
            if self.release is not None and self.release.state in RETIRABLE:
                await self._end(ReleaseState.RETIRED, request)

    def _must_be(self, *states: ReleaseState, verb: str) -> OSRelease:
        """The release, if what is asked for can be done to it as it stands."""
        if self.release is None:
            raise _conflict(f"the release cannot be {verb} now: {self.step}")
        if self.release.state not in states or self.release.state in ENDED:
            raise _conflict(f"the release cannot be {verb}: it is {self.release.state}")
        return self.release

    async def _stand(self, activity: Any, release: OSRelease, request: StandRequest) -> OSRelease:
        booked: OSRelease = await steps.book(
            activity, release, summary=f"book whether {release.version} is held"
        )
        self.release = booked
        self._enter(f"{booked.state}: {_reason(request)}")
        return booked

    async def _end(self, state: ReleaseState, request: StandRequest) -> OSRelease:
        assert self.release is not None
        assert self.locked is not None
        await steps.drop_amis(self.locked, self.release.amis)
        ended = self.release.model_copy(
            update={"state": state, "reason": _reason(request), "amis": []}
        )
        if state is ReleaseState.RETIRED and ended.disk is not None:
            await steps.on_builder(
                OSBuildActivities.forget_disk, ended.disk, "remove the stored disk"
            )
        await self._book_end(ended, request.by)
        self.release = ended
        self._enter(f"{state}: {_reason(request)}")
        return ended


def _falls(state: ReleaseState, told: ReleaseState) -> bool:
    return {state, told} <= {*FALLS} and FALLS.index(told) > FALLS.index(state)


def _why(error: BaseException) -> str:
    """The sentence of the activity that failed, not that one did."""
    cause = error.cause if isinstance(error, ActivityError) else error
    return cause.message if isinstance(cause, ApplicationError) else str(cause)


def _reason(request: StandRequest) -> str:
    return f"{request.reason} ({request.by})" if request.by else request.reason


def _conflict(message: str) -> ApplicationError:
    return ApplicationError(message, type=ErrorCode.CONFLICT, non_retryable=True)


def _release(
    plan: BuildPlan,
    locked: LockedPlan | None,
    container: RootFilesystem | None,
    vm: BuiltDisk | None,
) -> OSRelease:
    faces = {Target.CONTAINER: container, Target.VM: vm}
    packages = next((face.packages for face in faces.values() if face), {})
    spec = plan.spec
    return OSRelease(
        name=plan.name,
        version=plan.version,
        workflow_id=plan.workflow_id,
        state=ReleaseState.CANDIDATE,
        parent=plan.parent,
        distribution=spec.distribution,
        suite=spec.suite,
        architecture=spec.architecture,
        variant=spec.variant,
        targets=spec.targets,
        packages=spec.packages,
        build_key=locked.build_key if locked else "",
        lock=locked.lock if locked else None,
        repository=plan.repository,
        layer=container.layer if container else None,
        package_count=len(packages),
        uncompressed_size=container.uncompressed_size if container else 0,
        disk=vm.disk if vm else None,
        static={target: built.report for target, built in faces.items() if built},
        source_date_epoch=locked.source_date_epoch if locked else 0,
        created_at=workflow.now(),
    )

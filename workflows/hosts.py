"""``Host``: a machine of the fleet, from its registration to its removal.

A missed heartbeat of the watch activity is the failure detector: no other process polls hosts.
What people want of a host (that it takes no work, or leaves) are updates; SQL keeps it, so that a
host that comes back is what was wanted last.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.containers import ContainerActivities
    from activities.fleet import FleetActivities
    from activities.gone_hosts import GoneHostActivities
    from fleetwide.containers.describe import host_details
    from fleetwide.errors import ErrorCode
    from fleetwide.models.host_moves import (
        DrainProgress,
        DrainRequest,
        HostChange,
        HostMove,
        HostRemoval,
        HostStanding,
        HostStatus,
        SilentHost,
        Verdict,
        is_sooner,
    )
    from fleetwide.models.hosts import (
        ANSWERS,
        HostFacts,
        HostRegistration,
        HostSpec,
        HostState,
        host_task_queue,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.draining import drained, next_pause
from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.running import result_of, stop_if_cancelled

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
WATCH_LIMIT = timedelta(days=30)
ONCE = RetryPolicy(maximum_attempts=1)
STANDING_MEMO = "standing"


@workflow.defn(name="Host")
class Host:
    """What people want of it while its watch activity heartbeats, Disconnected while it does not.

    Lost when it was silent for long; it may come back from there, too.
    """

    def __init__(self) -> None:
        self.host_id = workflow.info().workflow_id.removeprefix("host/")
        self.state = HostState.DISCONNECTED
        self.wanted = HostMove(reason="as registered")
        self.wants = HostState.ACTIVE
        self.offer: HostSpec | None = None
        self.known = False
        self.message = ""
        self.progress: DrainProgress | None = None
        self.draining: asyncio.Task[None] | None = None
        self.drain_request: DrainRequest | None = None
        self.drain_ends = workflow.now()
        self.work: asyncio.Task[None] | None = None
        # One move or registration at a time: each sees what the one before it left.
        self.moving = asyncio.Lock()

    @workflow.run
    async def run(self, spec: HostSpec) -> None:
        self._recall()
        self.work = asyncio.create_task(self._serve(spec))
        try:
            await self.work
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            await self._stop_draining()
            if self.wants is HostState.REMOVED:
                self._enter(HostState.REMOVED)
                await workflow.wait_condition(workflow.all_handlers_finished)
                return
            await _book(ContainerActivities.remove_host, spec.host_id)
            self._enter(HostState.REMOVED)
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            self.offer or spec, memo={STANDING_MEMO: self._standing().model_dump(mode="json")}
        )

    def _recall(self) -> None:
        """Take over what the run before this one knew of the host, which is silent now."""
        known = workflow.memo_value(STANDING_MEMO, None, type_hint=HostStanding)
        if known is not None:
            self._stand(known)

    def _stand(self, standing: HostStanding) -> None:
        self.known = True
        self.wants = standing.wanted
        self.wanted = HostMove(by=standing.by, reason=standing.reason or "as registered")

    def _standing(self) -> HostStanding:
        return HostStanding(
            host_id=self.host_id,
            state=self.state,
            wanted=self.wants,
            by=self.wanted.by,
            reason=self.wanted.reason,
        )

    async def _serve(self, spec: HostSpec) -> None:
        while self.draining is not None or not workflow.info().is_continue_as_new_suggested():
            await self._one_connection(spec)
            stop_if_cancelled()

    async def _one_connection(self, spec: HostSpec) -> None:
        """Wait for the host's worker, register what it offers, watch it until it goes silent."""
        facts = await self._until_it_answers(spec.host_id)
        async with self.moving:
            await self._register(HostRegistration(spec=self.offer or spec, facts=facts))
        watch: workflow.ActivityHandle[None] = workflow.start_activity(
            "hosts.watch",
            task_queue=host_task_queue(spec.host_id),
            start_to_close_timeout=WATCH_LIMIT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT * (self.offer or spec).report_seconds,
            retry_policy=ONCE,
            summary=f"the host reports every {(self.offer or spec).report_seconds:g} s",
        )
        try:
            await result_of(watch)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
        await _book(ContainerActivities.disconnect_host, spec.host_id)
        self._enter(HostState.DISCONNECTED)

    async def _register(self, registration: HostRegistration) -> None:
        stop_if_cancelled()  # or a host that was removed meanwhile would begin anew
        standing: HostStanding = await workflow.execute_activity_method(
            ContainerActivities.register_host,
            registration,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="let the scheduler use the host",
        )
        stop_if_cancelled()
        self._stand(standing)
        self.message = ""
        self._enter(standing.wanted)

    async def _until_it_answers(self, host_id: str) -> HostFacts:
        """What the host says of itself; one that stays silent for long is given up meanwhile."""
        losing = asyncio.create_task(self._lose_later(host_id)) if self.known else None
        try:
            facts: HostFacts = await workflow.execute_activity(
                "hosts.describe",
                result_type=HostFacts,
                task_queue=host_task_queue(host_id),
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=PERSISTENT,
                summary="ask the host what it offers; waits until its worker is there",
            )
        finally:
            if losing is not None:
                losing.cancel()
        return facts

    async def _lose_later(self, host_id: str) -> None:
        asked = 0
        while True:
            judgement = await workflow.execute_activity_method(
                FleetActivities.judge_host,
                SilentHost(host_id=host_id),
                start_to_close_timeout=BOOKING_TIMEOUT,
                retry_policy=PERSISTENT,
                summary="ask whether the silent host may be given up",
            )
            stop_if_cancelled()
            if judgement.verdict is not Verdict.WAIT:
                break
            self.message = judgement.sentence
            self._show()
            pause = next_pause(judgement.seconds, asked)
            await workflow.sleep(pause, summary=judgement.sentence)
            asked += 1
        self.message = ""
        if judgement.verdict is Verdict.LOST:
            self._enter(HostState.LOST)

    def _enter(self, state: HostState) -> None:
        self.state = state
        self._show()
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "containers",
                    attributes.HOST: self.host_id,
                    attributes.STATE: state,
                }
            )
        )

    def _show(self) -> None:
        queue = host_task_queue(self.host_id)
        workflow.set_current_details(host_details(self.status(), queue))

    async def _change(self, wants: HostState, move: HostMove) -> HostStatus:
        """Write down what is wanted, and be it if the host answers."""
        self.wants, self.wanted = wants, move
        await workflow.execute_activity_method(
            FleetActivities.change_standing,
            HostChange(host_id=self.host_id, wanted=wants, by=move.by, reason=move.reason),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"let the host be {wants}: {move.reason}",
        )
        if self.state in ANSWERS:
            self._enter(wants)
        self._show()
        return self.status()

    async def _stop_draining(self) -> None:
        if self.draining is not None:
            self.draining.cancel()
            await asyncio.gather(self.draining, return_exceptions=True)
            self.draining = None

    async def _drain(self, request: DrainRequest) -> None:
        try:
            empty = await drained(self.host_id, request, self._progressed)
            if not empty:
                self.message = f"the drain gave up after {request.deadline_seconds:g} s"
            if request.takes_work_again:
                async with self.moving:
                    await self._change(HostState.ACTIVE, request.back(empty=empty))
            elif empty:
                async with self.moving:
                    await self._change(HostState.REMOVABLE, request)
        finally:
            self.draining = None
            self._show()

    def _progressed(self, progress: DrainProgress) -> None:
        stop_if_cancelled()
        self.progress = progress
        self._show()

    @workflow.signal(description="The host's worker started and tells what it offers now")
    def offers(self, spec: HostSpec) -> None:
        self.offer = spec

    @workflow.query(description="Whether the host takes work, who decided, how far a drain is")
    def status(self) -> HostStatus:
        return HostStatus(
            state=self.state,
            wanted=self.wants,
            by=self.wanted.by,
            reason=self.wanted.reason,
            message=self.message,
            drain=self.progress,
        )

    @workflow.update(description="Take no new work; what runs goes on")
    async def cordon(self, move: HostMove) -> HostStatus:
        async with self.moving:
            self._may_be_cordoned(move)
            await self._stop_draining()
            return await self._change(HostState.INACTIVE, move)

    @workflow.update(description="Take work again; ends a drain")
    async def uncordon(self, move: HostMove) -> HostStatus:
        async with self.moving:
            self._may_be_uncordoned(move)
            await self._stop_draining()
            return await self._change(HostState.ACTIVE, move)

    @workflow.update(description="Take work only where no active host does")
    async def phase_out(self, move: HostMove) -> HostStatus:
        async with self.moving:
            self._may_be_phased_out(move)
            return await self._change(HostState.PHASED_OUT, move)

    @workflow.update(
        description="Take no new work, and have every task end and run elsewhere; of a host that "
        "is being drained, do it sooner"
    )
    async def drain(self, request: DrainRequest) -> HostStatus:
        async with self.moving:
            self._may_be_drained(request)
            await self._stop_draining()
            self.message, self.progress = "", DrainProgress()
            self.drain_request = request
            self.drain_ends = workflow.now() + timedelta(seconds=request.deadline_seconds)
            status = await self._change(HostState.INACTIVE, request)
            self.draining = asyncio.create_task(self._drain(request))
        return status

    @workflow.update(description="Leave the fleet; only without tasks, unless it is silent")
    async def remove(self, request: HostRemoval) -> HostStatus:
        async with self.moving:
            self._may_be_removed(request)
            await self._remove(request)
        return self.status()

    async def _remove(self, request: HostRemoval) -> None:
        change = HostChange(
            host_id=self.host_id,
            wanted=HostState.REMOVED,
            by=request.by,
            reason=request.reason,
            gone=request.gone,
        )
        if request.gone:
            await _take_out(GoneHostActivities.remove_gone_host, change)
        elif request.force:
            await _take_out(FleetActivities.change_standing, change)
        else:
            await _take_out(FleetActivities.remove_host, change)
        self.wants, self.wanted = HostState.REMOVED, request
        await workflow.wait_condition(lambda: self.work is not None)
        assert self.work is not None
        self.work.cancel()
        await workflow.wait_condition(lambda: self.state is HostState.REMOVED)

    @cordon.validator
    def _may_be_cordoned(self, move: HostMove) -> None:  # noqa: ARG002
        if not self._is_defragmented():
            self._refuse(HostState.INACTIVE)

    def _is_defragmented(self) -> bool:
        """Whether it is being emptied to take work again: whoever wants more of it comes first."""
        request = self.drain_request
        return self.draining is not None and request is not None and request.takes_work_again

    @uncordon.validator
    def _may_be_uncordoned(self, move: HostMove) -> None:  # noqa: ARG002
        self._refuse(HostState.ACTIVE)

    @phase_out.validator
    def _may_be_phased_out(self, move: HostMove) -> None:  # noqa: ARG002
        self._refuse(HostState.PHASED_OUT)
        if self.draining is not None:
            raise _conflict("the host is being drained; uncordon it first")

    @drain.validator
    def _may_be_drained(self, request: DrainRequest) -> None:
        self._refuse(HostState.REMOVABLE)
        if self.draining is None or self.drain_request is None:
            return
        left = (self.drain_ends - workflow.now()).total_seconds()
        if self._is_defragmented() and not request.takes_work_again:
            return
        if not is_sooner(request, self.drain_request, left):
            raise _conflict(
                "the host is being drained already: only a sooner deadline changes that, which "
                "keeps the force it has"
            )

    @remove.validator
    def _may_be_removed(self, request: HostRemoval) -> None:
        self._refuse(HostState.REMOVED)
        if request.of_a_silent_host and self.state in ANSWERS:
            raise _conflict("the host answers: drain it, then remove it without force")

    def _refuse(self, wants: HostState) -> None:
        if self.wants is HostState.REMOVED:
            raise _conflict("the host has left the fleet")
        if self.wants is wants:
            raise _conflict(f"the host is {wants} already")


def _conflict(message: str) -> ApplicationError:
    return ApplicationError(message, type=ErrorCode.CONFLICT, non_retryable=True)


async def _take_out(
    step: Callable[[Any, HostChange], Awaitable[None] | None], change: HostChange
) -> None:
    try:
        await workflow.execute_activity_method(
            step,
            change,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"take the host out of the fleet: {change.reason}",
        )
    except ActivityError as error:
        if isinstance(error.cause, ApplicationError):
            raise error.cause from None
        raise


async def _book(step: Callable[[ContainerActivities, str], None], host_id: str) -> None:
    await workflow.execute_activity_method(
        step,
        host_id,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary="stop the scheduler from using the host",
    )

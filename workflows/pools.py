"""``HostPool``: machines that come when work waits for hosts, and go when they are not needed.

One long activity looks and says what to do; each thing is then done by an activity of its own, so
that a history tells every machine that came or went, and why.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.pools import PoolActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.pools import (
        HostPoolSpec,
        PoolDrain,
        PoolLaunch,
        PoolMove,
        PoolScale,
        PoolStatus,
        PoolStep,
        PoolStepKind,
        PoolSteps,
        PoolTermination,
        PoolTurn,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.running import stop_if_cancelled, to_the_end

REFRESHING_MEMO = "refreshing"
LOOK_LIMIT = timedelta(minutes=10)
LOOK_HEARTBEAT = timedelta(seconds=30)
LAUNCH_LIMIT = timedelta(minutes=5)
REFUSED_PAUSE = timedelta(seconds=30)
"""After a provider refused; people see why meanwhile."""
SHORT_FOR = timedelta(minutes=5)
"""So long another type is tried instead of one that there was none left of."""
LAUNCHES = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_attempts=2)
"""A lasting refusal is told soon: another type or zone may have some."""


@workflow.defn(name="HostPool")
class HostPool:
    """Lives until it is deleted or cancelled: then its hosts are emptied, its machines ended."""

    @workflow.init
    def __init__(self, spec: HostPoolSpec) -> None:
        self.spec = spec
        self.refreshing = workflow.memo_value(REFRESHING_MEMO, False, type_hint=bool)
        self.deleting = False
        self.changed = False
        self.machines = 0
        self.image = ""
        self.message = ""
        self.launches = 0
        self.short: dict[str, datetime] = {}
        """Until when each type is not tried again, as there was none left."""

    @workflow.run
    async def run(self, spec: HostPoolSpec) -> PoolStatus:  # noqa: ARG002
        workflow.upsert_search_attributes(attributes.updates({attributes.PRODUCT: "containers"}))
        try:
            while not self._over():
                await self._turn()
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            self.deleting = True
            await to_the_end(self._clear)
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self.deleting:
            workflow.continue_as_new(self.spec, memo={REFRESHING_MEMO: self.refreshing})
        await self._forget()
        return self.status()

    def _over(self) -> bool:
        gone = self.deleting and self.machines == 0 and not self.changed
        return gone or (not self.deleting and workflow.info().is_continue_as_new_suggested())

    async def _turn(self) -> None:
        """Look, do what there is to do; look again at once when somebody changed what is wanted."""
        found = await self._look()
        if found is None:
            return
        self.machines, self.image = found.machines, found.image or self.image
        if found.refreshed:
            self.refreshing, self.message = False, "every machine is of the newest image"
        for step in found.steps:
            if self.changed:
                break  # people want something else by now
            await self._do(step)
        self._show()

    async def _look(self) -> PoolSteps | None:
        """What to do; None when what is wanted changed meanwhile."""
        self.changed = False
        look = asyncio.create_task(self._asked())
        try:
            await workflow.wait_condition(lambda: look.done() or self.changed)
            return await look if look.done() else None
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._refused("the pool cannot be looked at", error)
            return None
        finally:
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)

    async def _asked(self) -> PoolSteps:
        info = workflow.info()
        return await workflow.execute_activity_method(
            PoolActivities.next_steps,
            PoolTurn(
                spec=self.spec,
                refreshing=self.refreshing,
                deleting=self.deleting,
                short=sorted(name for name, until in self.short.items() if until > workflow.now()),
                workflow_id=info.workflow_id,
                run_id=info.run_id,
            ),
            start_to_close_timeout=LOOK_LIMIT,
            heartbeat_timeout=LOOK_HEARTBEAT,
            retry_policy=PERSISTENT,
            summary="look at the pool until there is something to do",
        )

    async def _clear(self) -> None:
        """Empty the hosts and end the machines, also after a cancel."""
        self.machines = -1
        while self.machines:
            found = await self._look()
            if found is None:
                continue
            self.machines = found.machines
            for step in found.steps:
                await self._do(step)
        await self._forget()

    async def _do(self, step: PoolStep) -> None:
        self.message = step.sentence
        self._show()
        try:
            await self._step(step)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            others = {one.name for one in self.spec.types} - {step.type} - self.short.keys()
            if step.kind is PoolStepKind.LAUNCH:
                self.short[step.type] = workflow.now() + SHORT_FOR
            if step.kind is not PoolStepKind.LAUNCH or not others:
                await self._refused(step.sentence, error)

    async def _refused(self, what: str, error: ActivityError) -> None:
        """Tell people, and wait a moment or until they change what is wanted."""
        why = error.cause.message if isinstance(error.cause, ApplicationError) else error.cause
        self.message = f"{what}: {why}"
        self._show()
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.changed, timeout=REFUSED_PAUSE, timeout_summary=self.message[:200]
            )

    async def _step(self, step: PoolStep) -> None:
        spec = self.spec
        match step.kind:
            case PoolStepKind.RESIZE:
                self.spec = spec.model_copy(update={"desired": step.count})
            case PoolStepKind.LAUNCH:
                await self._launch(spec, step)
            case PoolStepKind.DRAIN:
                await workflow.execute_activity_method(
                    PoolActivities.drain,
                    PoolDrain(
                        pool=spec.name,
                        machines=step.machines,
                        reason=step.sentence,
                        hurry=step.hurry,
                        cause=step.cause,
                    ),
                    start_to_close_timeout=BOOKING_TIMEOUT * 2,
                    retry_policy=PERSISTENT,
                    summary=f"empty {', '.join(step.machines)}"[:200],
                )
            case PoolStepKind.TERMINATE:
                assert step.end is not None
                await workflow.execute_activity_method(
                    PoolActivities.terminate,
                    PoolTermination(spec=spec, machines=step.machines, end=step.end),
                    start_to_close_timeout=LAUNCH_LIMIT,
                    heartbeat_timeout=LOOK_HEARTBEAT,
                    retry_policy=PERSISTENT,
                    summary=step.sentence[:200],
                )

    async def _launch(self, spec: HostPoolSpec, step: PoolStep) -> None:
        self.launches += 1
        token = f"{workflow.info().run_id}-{self.launches}"
        await workflow.execute_activity_method(
            PoolActivities.launch,
            PoolLaunch(spec=spec, type=step.type, count=step.count, image=self.image, token=token),
            start_to_close_timeout=LAUNCH_LIMIT,
            heartbeat_timeout=LOOK_HEARTBEAT,
            retry_policy=LAUNCHES,
            # What is being started must be known before a cancel ends all that there is.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=step.sentence[:200],
        )
        stop_if_cancelled()

    async def _forget(self) -> None:
        await workflow.execute_activity_method(
            PoolActivities.forget,
            self.spec.name,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="the pool is deleted",
        )

    def _show(self) -> None:
        status = self.status()
        doing = "deleting" if status.deleting else "refreshing" if status.refreshing else "serving"
        workflow.set_current_details(
            f"**{doing}**: {status.machines} machines, {status.desired} desired "
            f"({status.min} to {status.max})\n- {status.message or 'nothing to do'}"
        )

    @workflow.query(description="Its size, its machines, what it did last")
    def status(self) -> PoolStatus:
        spec = self.spec
        return PoolStatus(
            name=spec.name,
            min=spec.min,
            desired=spec.desired,
            max=spec.max,
            machines=max(self.machines, 0),
            refreshing=self.refreshing,
            deleting=self.deleting,
            message=self.message,
        )

    @workflow.update(description="Change how many machines there are: min, desired, max")
    async def scale(self, change: PoolScale) -> PoolStatus:
        self.spec = _scaled(self.spec, change)
        self._note(change.by, change.reason)
        return self.status()

    @workflow.update(description="Replace machines of older images, one after the other")
    async def refresh(self, move: PoolMove) -> PoolStatus:
        self.refreshing = True
        self._note(move.by, move.reason)
        return self.status()

    @workflow.update(description="Empty its hosts, end its machines and end the pool")
    async def delete(self, move: PoolMove) -> PoolStatus:
        self.deleting = True
        self._note(move.by, move.reason)
        return self.status()

    def _note(self, by: str, reason: str) -> None:
        self.message = f"{reason} ({by})" if by else reason
        self.changed = True
        self._show()

    @scale.validator
    def _may_scale(self, change: PoolScale) -> None:
        self._refuse_if_deleting()
        try:
            _scaled(self.spec, change)
        except ValueError as error:
            raise ApplicationError(
                f"the pool cannot have that size: {error}",
                type=ErrorCode.INVALID_INPUT,
                non_retryable=True,
            ) from None

    @refresh.validator
    def _may_refresh(self, move: PoolMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @delete.validator
    def _may_delete(self, move: PoolMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    def _refuse_if_deleting(self) -> None:
        if self.deleting:
            raise ApplicationError(
                "the pool is being deleted", type=ErrorCode.CONFLICT, non_retryable=True
            )


def _scaled(spec: HostPoolSpec, change: PoolScale) -> HostPoolSpec:
    """The spec with another size; ``desired`` moves along when only a bound is given.

    Raises ``ValueError``.
    """
    least = spec.min if change.min is None else change.min
    most = spec.max if change.max is None else change.max
    if least > most:
        raise ValueError(f"min would be {least}, which is more than max ({most})")
    if change.desired is None:
        desired = min(max(spec.desired, least), most)
    elif least <= change.desired <= most:
        desired = change.desired
    else:
        raise ValueError(f"desired would be {change.desired}; min is {least}, max is {most}")
    return spec.model_copy(update={"min": least, "desired": desired, "max": most})

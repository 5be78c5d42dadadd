"""Steps that workflows share: ask for a host, run there, book the end, also when cancelled."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.containers import ContainerActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.containers import (
        AttemptKey,
        AttemptRequest,
        AttemptResult,
        ContainerSpec,
        FinishJob,
        JobHeader,
        Placement,
        PlacementRequest,
        Placements,
        RunContainer,
    )
    from fleetwide.models.task_states import EndReason

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.silence import Silence, answer_timeout, heartbeat_timeout, may_still_run

Result = TypeVar("Result")
PLACEMENT_LIMIT = timedelta(days=30)
RUN_MARGIN = timedelta(hours=1)
FOR_EVER = timedelta(days=3650)
# Without an end: the tries count themselves, and the last one in vain is final.
ON_HOST = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10))

# What an error of the run activity says of the attempt; any other is the platform's fault.
FAULTS: dict[str, EndReason] = {
    ErrorCode.IMAGE_PULL_FAILED: EndReason.IMAGE_PULL_FAILED,
    ErrorCode.DOCKER_UNAVAILABLE: EndReason.LOCAL_SYSTEM_ERROR,
    ErrorCode.OBJECT_STORE_UNAVAILABLE: EndReason.TRANSIENT_SYSTEM_ERROR,
    ErrorCode.REGISTRY_UNAVAILABLE: EndReason.TRANSIENT_SYSTEM_ERROR,
    ErrorCode.SERVICE_UNAVAILABLE: EndReason.TRANSIENT_SYSTEM_ERROR,
    # The request's own faults: no other attempt could do better.
    ErrorCode.IMAGE_NOT_FOUND: EndReason.INVALID_REQUEST,
    ErrorCode.INVALID_INPUT: EndReason.INVALID_REQUEST,
    ErrorCode.NOT_FOUND: EndReason.INVALID_REQUEST,
}


def stop_if_cancelled() -> None:
    """Raise the cancel that came while a result was waited for: it would be lost else."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def to_the_end(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Do the work also when a cancel comes meanwhile; ``stop_if_cancelled`` tells of it then.

    A cancel that lands together with an activity's result would throw the result away else.
    """
    coroutine = work()
    try:
        task = asyncio.ensure_future(coroutine)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            return await task
    except BaseException:
        coroutine.close()  # a run that leaves the worker's memory never starts it
        raise


async def result_of(activity: workflow.ActivityHandle[Result]) -> Result:
    """Wait for its end, and cancel it when this is cancelled.

    As awaiting it does, but for a cancel that comes together with its failure: the SDK leaves that
    failure to nobody then, and asyncio complains that it was never retrieved.
    """
    try:
        return await asyncio.shield(activity)
    except asyncio.CancelledError:
        await workflow.wait_condition(lambda: True)  # all that came with the cancel is told by then
        activity.cancel()
        with suppress(ActivityError):
            await activity
        raise


async def place(header: JobHeader, wanted: list[AttemptRequest]) -> list[Placement]:
    """Wait until the scheduler found a host for at least one of the wanted attempts."""
    resources = header.container.resources
    placements: Placements = await workflow.execute_activity_method(
        ContainerActivities.place,
        PlacementRequest(job=header, attempts=wanted),
        start_to_close_timeout=PLACEMENT_LIMIT,
        retry_policy=PERSISTENT,
        summary=f"find a host for {_attempts(wanted)}: {resources.cpu:g} CPU, "
        f"{resources.memory.human_readable()}",
    )
    stop_if_cancelled()
    return placements.placed


def _attempts(wanted: list[AttemptRequest]) -> str:
    if len(wanted) == 1:
        return f"attempt {wanted[0].attempt}"
    return f"{len(wanted)} attempts"


def _child(header: JobHeader, placement: Placement) -> str:
    return f"{header.app}[{placement.index}]" if header.size > 1 else header.app


async def run_on_host(
    header: JobHeader,
    placement: Placement,
    extra_env: dict[str, str],
    silence: Silence,
    *,
    resume: bool = False,
) -> AttemptResult:
    """Run one placed attempt to its end; the platform's faults come back as results too.

    With ``resume`` only a container that runs there already.

    Raises:
        CancelledError: the workflow was cancelled; the container is gone by then, unless its host
            did not answer: then its fence or its reaper takes it away.
    """
    key = AttemptKey(
        workflow_id=header.workflow_id,
        run_id=header.run_id,
        index=placement.index,
        attempt=placement.attempt,
    )
    run = RunContainer(
        key=key,
        host_id=placement.host_id,
        app=header.app,
        image=placement.image,
        container=header.container,
        extra_env=extra_env,
        extra_images=placement.extra_images,
        devices=placement.devices,
        ports=placement.ports,
        membership=header.membership,
        resume=resume,
    )
    while True:
        began = workflow.now()
        try:
            return await _run(run, header, placement)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            if not may_still_run(error):
                return fault_result(key, placement.host_id, error)
            # Else the host would be asked to go on with what was to be stopped.
            stop_if_cancelled()
            if await silence.is_final(error, began):
                return fault_result(key, placement.host_id, error)
            stop_if_cancelled()


def _run_limit(container: ContainerSpec) -> timedelta:
    if container.runtime_limit_seconds is None:
        return FOR_EVER
    return timedelta(seconds=container.runtime_limit_seconds) + RUN_MARGIN


async def _run(run: RunContainer, header: JobHeader, placement: Placement) -> AttemptResult:
    container = header.container
    result: AttemptResult = await workflow.execute_activity(
        "hosts.run_container",
        run,
        result_type=AttemptResult,
        task_queue=placement.task_queue,
        schedule_to_start_timeout=answer_timeout(container),
        start_to_close_timeout=_run_limit(container),
        heartbeat_timeout=heartbeat_timeout(container),
        retry_policy=ON_HOST,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"run {_child(header, placement)} on {placement.host_id}, "
        f"attempt {placement.attempt}",
    )
    return result


def timeout_reason(cause: TimeoutError) -> EndReason:
    """Nobody took the attempt up in time: lost if its host had begun it, stuck if it never did."""
    begun = cause.type is not TimeoutType.SCHEDULE_TO_START or cause.last_heartbeat_details
    return EndReason.LOST if begun else EndReason.STUCK_IN_STATE


def fault_result(key: AttemptKey, host_id: str | None, error: ActivityError) -> AttemptResult:
    """The result of an attempt that the platform failed to run."""
    cause = error.cause
    if isinstance(cause, TimeoutError):
        reason, message = (
            timeout_reason(cause),
            f"host {host_id} stopped answering: {cause.message}",
        )
    elif isinstance(cause, ApplicationError):
        reason, message = FAULTS.get(cause.type or "", EndReason.PLATFORM_FAULT), cause.message
    else:
        reason, message = EndReason.PLATFORM_FAULT, str(cause or error)
    return AttemptResult(
        key=key, host_id=host_id, reason=reason, message=message, finished_at=workflow.now()
    )


async def book_attempts(results: list[AttemptResult]) -> None:
    """Write ended attempts to the inventory; their hosts are free again afterwards."""
    await workflow.execute_local_activity_method(
        ContainerActivities.record_attempts,
        results,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary=f"book {len(results)} ended attempts",
    )


async def book_end(request: FinishJob) -> None:
    """Write the end of the job to the inventory."""
    await workflow.execute_local_activity_method(
        ContainerActivities.finish,
        request,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary=f"book the end: {request.state}",
    )

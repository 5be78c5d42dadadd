"""Steps that workflows share: ask for a host, run there, book the end, also when cancelled."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004
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
        EndReason,
        FinishJob,
        JobHeader,
        Placement,
        PlacementRequest,
        Placements,
        RunContainer,
    )

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT

PLACEMENT_LIMIT = timedelta(days=30)
LOST_AFTER = timedelta(minutes=5)
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
RUN_MARGIN = timedelta(hours=1)
ON_HOST = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=20,
)


def stop_if_cancelled() -> None:
    """Raise the cancel that landed together with an activity's result: it would be lost else."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def to_the_end(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do the work also when a cancel comes meanwhile: what it is for has ended already."""
    coroutine = work()
    try:
        task = asyncio.ensure_future(coroutine)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await task
    except BaseException:
        coroutine.close()  # a run that leaves the worker's memory never starts it
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
    header: JobHeader, placement: Placement, extra_env: dict[str, str]
) -> AttemptResult:
    """Run one placed attempt to its end; the platform's faults come back as results too.

    Raises:
        CancelledError: the workflow was cancelled; the container is gone by then.
    """
    key = AttemptKey(
        workflow_id=header.workflow_id,
        run_id=header.run_id,
        index=placement.index,
        attempt=placement.attempt,
    )
    limit = timedelta(seconds=header.container.runtime_limit_seconds)
    try:
        result: AttemptResult = await workflow.execute_activity(
            "hosts.run_container",
            RunContainer(
                key=key,
                host_id=placement.host_id,
                app=header.app,
                image=placement.image,
                container=header.container,
                extra_env=extra_env,
            ),
            result_type=AttemptResult,
            task_queue=placement.task_queue,
            schedule_to_start_timeout=LOST_AFTER,
            start_to_close_timeout=limit + RUN_MARGIN,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=ON_HOST,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"run {_child(header, placement)} on {placement.host_id}, "
            f"attempt {placement.attempt}",
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return fault_result(key, placement.host_id, error)
    return result


def fault_result(key: AttemptKey, host_id: str, error: ActivityError) -> AttemptResult:
    """The result of an attempt that the platform failed to run."""
    cause = error.cause
    if isinstance(cause, TimeoutError):
        reason, message = EndReason.LOST, f"host {host_id} stopped answering: {cause.message}"
    elif isinstance(cause, ApplicationError):
        pull = cause.type in (ErrorCode.IMAGE_PULL_FAILED, ErrorCode.IMAGE_NOT_FOUND)
        reason = EndReason.IMAGE_PULL_FAILED if pull else EndReason.PLATFORM_FAULT
        message = cause.message
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

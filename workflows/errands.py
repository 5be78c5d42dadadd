"""``TaskErrand``: one thing done in a running task from outside; the task's history is untouched.

A command is started once at most: when the host falls silent meanwhile, nobody starts it again.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004
    TimeoutType,
)
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.errands import ErrandActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.errands import (
        ErrandResult,
        ErrandSpec,
        ExecWork,
        FetchWork,
        PlacedErrand,
        StatsWork,
        Work,
        errand_task_queue,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
TAKEN_WITHIN = timedelta(seconds=15)
MARGIN = timedelta(minutes=1)
FETCH_LIMIT = timedelta(hours=1)
ONCE = RetryPolicy(maximum_attempts=1)
SOME = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=3)


@workflow.defn(name="TaskErrand")
class TaskErrand:
    """Finds the task's host, lets it do the errand, ends with what came of it."""

    @workflow.run
    async def run(self, spec: ErrandSpec) -> ErrandResult:
        placed: PlacedErrand = await workflow.execute_local_activity_method(
            ErrandActivities.place_errand,
            spec,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=SOME,
            summary=f"find where task {spec.task_id} runs",
        )
        workflow.upsert_search_attributes(
            attributes.updates({attributes.PRODUCT: "containers", attributes.HOST: placed.host_id})
        )
        try:
            result: ErrandResult = await workflow.execute_activity(
                "errands.run",
                placed,
                result_type=ErrandResult,
                task_queue=errand_task_queue(placed.host_id),
                schedule_to_start_timeout=TAKEN_WITHIN,
                start_to_close_timeout=_limit(spec.work),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=ONCE if isinstance(spec.work, ExecWork) else SOME,
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=f"{spec.work.kind} in task {spec.task_id} on {placed.host_id}",
            )
        except ActivityError as error:
            if isinstance(error.cause, TimeoutError):
                raise _silent(placed.host_id, error.cause) from None
            raise
        return result


def _limit(work: Work) -> timedelta:
    if isinstance(work, ExecWork):
        return timedelta(seconds=work.timeout_seconds) + MARGIN
    if isinstance(work, StatsWork):
        return timedelta(seconds=work.samples * work.every_seconds) + MARGIN
    return FETCH_LIMIT if isinstance(work, FetchWork) else MARGIN


def _silent(host_id: str, timeout: TimeoutError) -> ApplicationError:
    if timeout.type is TimeoutType.SCHEDULE_TO_START:
        text = f"host {host_id} did not take the errand: nothing was done"
    else:
        text = f"host {host_id} stopped answering: nobody knows how far the errand came"
    return ApplicationError(text, type=ErrorCode.SERVICE_UNAVAILABLE, non_retryable=True)

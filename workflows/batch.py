"""``BatchJob``: an array of containers; each child finds a host, runs, and is retried by policy."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from fleetwide.batch.array import Array
    from fleetwide.batch.outcome import batch_details, child_env
    from fleetwide.errors import ErrorCode
    from fleetwide.models.base import Waiting
    from fleetwide.models.batch import (
        BatchJobSpec,
        BatchResult,
        BatchState,
        BatchStatus,
        Child,
        ChildState,
    )
    from fleetwide.models.containers import (
        AttemptResult,
        FinishJob,
        JobHeader,
        JobKind,
        KillRequest,
        Placement,
    )
    from fleetwide.models.evictions import AttemptKill, Eviction
    from fleetwide.models.task_states import EndReason
    from fleetwide.temporal import search_attributes as attributes

from workflows.attempts import CANCELLED, RunningAttempt, book_kills
from workflows.running import book_attempts, book_end, place, stop_if_cancelled

ASK_LIMIT = 100
PROGRESS_MEMO = "progress"


@workflow.defn(name="BatchJob")
class BatchJob:
    """Asks for hosts in batches, runs what was placed, books what ended."""

    def __init__(self) -> None:
        self.job_id = workflow.info().workflow_id.removeprefix("batch/")
        self.array = Array(size=0)
        self.ended: list[AttemptResult] = []
        self.waiting: Waiting | None = None
        self.cancel_reason: str | None = None
        self.finished = False
        self.work: asyncio.Task[None] | None = None
        self.running: set[asyncio.Task[None]] = set()
        self.placed: dict[int, RunningAttempt] = {}
        self.broken: BaseException | None = None

    @workflow.run
    async def run(self, spec: BatchJobSpec) -> BatchResult:
        header = _header(spec)
        self.array = workflow.memo_value(PROGRESS_MEMO, Array(size=spec.size), type_hint=Array)
        self._index(header, BatchState.RUNNING)
        self.work = asyncio.create_task(self._drive(header, spec))
        cancelled: BaseException | None = None
        try:
            await self.work
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            cancelled = None if self.cancel_reason else error
            await self._stop_running()
            self.array.cancel_rest()
        if not self.array.done:
            workflow.continue_as_new(spec, memo={PROGRESS_MEMO: self.array.model_dump(mode="json")})
        return await self._end(header, cancelled)

    async def _drive(self, header: JobHeader, spec: BatchJobSpec) -> None:
        """Place and book side by side until all is done, or until it is time to continue as new."""
        placer = asyncio.create_task(self._place_all(header, spec))
        placer.add_done_callback(self._child_ended)
        try:
            while not (self.array.done or self._may_continue_as_new()):
                await workflow.wait_condition(
                    lambda: (
                        bool(self.ended) or self.broken is not None or self._may_continue_as_new()
                    )
                )
                if self.broken is not None:
                    raise self.broken
                await self._book(spec)
                stop_if_cancelled()
        finally:
            placer.remove_done_callback(self._child_ended)
            placer.cancel()
            await asyncio.gather(placer, return_exceptions=True)

    def _may_continue_as_new(self) -> bool:
        return (
            workflow.info().is_continue_as_new_suggested()
            and self.array.quiet
            and not self.ended
            and workflow.all_handlers_finished()
        )

    async def _place_all(self, header: JobHeader, spec: BatchJobSpec) -> None:
        """Ask for hosts, one request at a time, while fewer children run than may."""
        while True:
            await workflow.wait_condition(
                lambda: (
                    self.array.has_wanting
                    and self.array.running < spec.max_parallel
                    and not workflow.info().is_continue_as_new_suggested()
                )
            )
            room = min(spec.max_parallel - self.array.running, ASK_LIMIT)
            for placement in await place(header, self.array.wanted(room)):
                self.array.placed(placement.index)
                self.waiting = None
                self._spawn(self._run_child(header, placement))
            self._show()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.running.add(task)
        task.add_done_callback(self._child_ended)

    def _child_ended(self, task: asyncio.Task[None]) -> None:
        """A child's own failure is a result; an exception here is a bug, and must not be lost."""
        self.running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.broken = task.exception()

    async def _run_child(self, header: JobHeader, placement: Placement) -> None:
        env = child_env(self.job_id, header.size, placement.index, placement.attempt)
        attempt = self.placed[placement.index] = RunningAttempt(header, placement, env)
        try:
            result = await attempt.result()
        except asyncio.CancelledError:
            self.ended.append(attempt.killed())
            raise
        finally:
            del self.placed[placement.index]
        # Only now: the list is another one after each booking.
        self.ended.append(result)

    async def _book(self, spec: BatchJobSpec) -> None:
        """Write down all that ended since the last time; their hosts are free from here on."""
        ended, self.ended = self.ended, []
        if not ended:
            return
        await book_attempts(ended)
        for result in ended:
            retry = self.array.ended_attempt(result, spec.retry)
            if retry is not None:
                self._spawn(self._retry_later(result.key.index, retry.delay_seconds))
        self._show()

    async def _retry_later(self, index: int, delay_seconds: float) -> None:
        if delay_seconds:
            pause = timedelta(seconds=delay_seconds)
            await workflow.sleep(pause, summary=f"child {index} is tried again after this")
        self.array.ready_again(index)

    async def _stop_running(self) -> None:
        """Cancel every child and wait until its container is gone."""
        kills = self._kills(self.cancel_reason or CANCELLED)
        for task in list(self.running):
            task.cancel()
        await book_kills(kills)
        await asyncio.gather(*list(self.running), return_exceptions=True)

    def _kills(self, message: str) -> list[AttemptKill]:
        running = list(self.placed.values())
        return [kill for one in running for kill in one.stopped(EndReason.KILLED, message)]

    async def _end(self, header: JobHeader, cancelled: BaseException | None) -> BatchResult:
        result = self._result()
        await book_end(
            FinishJob(
                job=header,
                state=result.state,
                attempts=self.ended,
                result=result.model_dump(mode="json", exclude={"children"}),
            )
        )
        self.finished = True
        self._index(header, result.state)
        self._show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if cancelled is not None:
            raise cancelled
        if result.state is BatchState.FAILED:
            raise ApplicationError(
                f"{result.failed} of {result.size} children failed for good",
                result,
                type=ErrorCode.JOB_FAILED,
                non_retryable=True,
            )
        return result

    def _result(self) -> BatchResult:
        ended = self.array.ended
        return BatchResult(
            job_id=self.job_id,
            state=self.array.outcome(),
            size=self.array.size,
            succeeded=ended.get(ChildState.SUCCEEDED, 0),
            failed=ended.get(ChildState.FAILED, 0),
            cancelled=ended.get(ChildState.CANCELLED, 0),
            attempts=self.array.attempts,
            children=self.array.children(),
        )

    def _index(self, header: JobHeader, state: BatchState) -> None:
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.APP: header.app,
                    attributes.OWNER: header.owner,
                    attributes.PRODUCT: "batch",
                    attributes.QUEUE: header.queue,
                    attributes.STATE: state,
                }
            )
        )

    def _show(self) -> None:
        workflow.set_current_details(batch_details(self.status()))

    @workflow.query(description="State, counts by child state and the reason of a wait")
    def status(self) -> BatchStatus:
        return BatchStatus(
            job_id=self.job_id,
            state=self.array.outcome(),
            size=self.array.size,
            counts=self.array.counts(),
            waiting=self.waiting,
        )

    @workflow.query(description="Every child of a small array, the open ones of a large one")
    def children(self) -> list[Child]:
        return self.array.children()

    @workflow.signal(description="The scheduler tells why no host was found yet")
    def waiting_for_host(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self._show()

    @workflow.signal(description="Stop running children and try them again")
    async def evict(self, eviction: Eviction) -> None:
        running = list(self.placed.values())
        await book_kills([kill for one in running for kill in one.evict(eviction)])

    @workflow.update(description="Stop all children and end the job, with a reason")
    async def cancel(self, request: KillRequest) -> BatchStatus:
        self.cancel_reason = request.reason
        # An update may arrive together with the start, before the run method began.
        await workflow.wait_condition(lambda: self.work is not None)
        assert self.work is not None
        self.work.cancel()
        await workflow.wait_condition(lambda: self.finished)
        return self.status()

    @cancel.validator
    def _cancel_is_possible(self, request: KillRequest) -> None:  # noqa: ARG002
        if self.finished or self.cancel_reason is not None:
            raise ApplicationError(
                "the job is ending already", type=ErrorCode.CONFLICT, non_retryable=True
            )


def _header(spec: BatchJobSpec) -> JobHeader:
    info = workflow.info()
    return JobHeader(
        workflow_id=info.workflow_id,
        run_id=info.first_execution_run_id,
        kind=JobKind.BATCH,
        app=spec.app,
        owner=spec.owner,
        queue=spec.queue,
        size=spec.size,
        labels=spec.labels,
        capacity_group=spec.capacity_group,
        priority=spec.priority,
        container=spec.container,
        retry=spec.retry,
        disruption_budget=spec.disruption_budget,
    )

"""``BatchJob``: an array of containers; each child finds a host, runs, and is retried by policy."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
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
        BatchStatus,
        Child,
        ChildState,
        OnFailure,
    )
    from fleetwide.models.batch_control import (
        CancelChildren,
        ChildrenCancelled,
        HoldRequest,
        JobStanding,
        ReleaseRequest,
        ResizeRequest,
    )
    from fleetwide.models.batch_states import BatchState
    from fleetwide.models.containers import (
        AttemptRequest,
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
from workflows.batch_steps import (
    HELD,
    NOT_YET,
    WAITS_FOR_JOBS,
    new_array,
    note,
    others,
    time_left,
    waits,
    withdraw,
)
from workflows.running import book_attempts, book_end, place, stop_if_cancelled

ASK_LIMIT = 100
ASK_AGAIN = timedelta(minutes=1)
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
        self.asking = False
        self.early = False
        """Whether ``waiting`` is of the whole job, which has not begun."""
        self.nudged = False
        self.recalls = 0
        """How many want that no host is asked for at the moment."""

    @workflow.run
    async def run(self, spec: BatchJobSpec) -> BatchResult:
        header = self._job = _header(spec)
        self.array = workflow.memo_value(PROGRESS_MEMO, new_array(spec), type_hint=Array)
        self._index(header, BatchState.RUNNING)
        self.work = asyncio.create_task(self._drive(header, spec))
        cancelled: BaseException | None = None
        try:
            await self.work
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            cancelled = None if self.cancel_reason or self.array.stopped else error
            await self._stop_running()
            self.array.cancel_rest()
        if not self.array.done:
            workflow.continue_as_new(spec, memo={PROGRESS_MEMO: self.array.model_dump(mode="json")})
        return await self._end(header, cancelled)

    async def _drive(self, header: JobHeader, spec: BatchJobSpec) -> None:
        """Place and book side by side until all is done, or until it is time to continue as new."""
        placer = asyncio.create_task(self._place_all(header, spec))
        placer.add_done_callback(self._child_ended)
        timer = asyncio.create_task(self._end_in_time())
        try:
            while not (self.array.done or self._may_continue_as_new()):
                await workflow.wait_condition(
                    lambda: (
                        bool(self.ended)
                        or self.broken is not None
                        or self.array.done
                        or self._may_continue_as_new()
                    )
                )
                if self.broken is not None:
                    raise self.broken
                await self._book(spec)
                stop_if_cancelled()
        finally:
            placer.remove_done_callback(self._child_ended)
            for task in (placer, timer):
                task.cancel()
            await asyncio.gather(placer, timer, return_exceptions=True)

    async def _end_in_time(self) -> None:
        """Stop the job when its time is over."""
        ends = self.array.ends_at
        if ends is None:
            return
        if left := time_left(ends):
            await workflow.sleep(left, summary="all of it has to end by then")
        self._give_up(f"its time was over at {ends:%Y-%m-%d %H:%M:%S} UTC")

    def _give_up(self, message: str) -> None:
        assert self.work is not None
        self.array.stopped = message
        self.work.cancel()

    def _may_continue_as_new(self) -> bool:
        return (
            workflow.info().is_continue_as_new_suggested()
            and self.array.quiet
            and not self.ended
            and workflow.all_handlers_finished()
        )

    async def _place_all(self, header: JobHeader, spec: BatchJobSpec) -> None:
        """Ask for hosts, one request at a time, while fewer children run than may."""
        self.early = True
        await self._until_others(header, spec)
        await self._until_start(header, spec)
        self.early = False
        while True:
            await workflow.wait_condition(
                lambda: (
                    self.array.has_wanting
                    and self.array.running < spec.max_parallel
                    and not workflow.info().is_continue_as_new_suggested()
                    and not self._on_hold
                )
            )
            room = min(spec.max_parallel - self.array.running, ASK_LIMIT)
            for placement in await self._ask(header, self.array.wanted(room)):
                self.array.placed(placement.index)
                self.waiting = None
                self._spawn(self._run_child(header, placement))
            self._show()

    @property
    def _on_hold(self) -> bool:
        return self.array.held is not None or self.recalls > 0

    async def _until_others(self, header: JobHeader, spec: BatchJobSpec) -> None:
        """Wait until the jobs that were named have ended as wanted; give up when one did not."""
        while spec.depends_on:
            self.nudged = False
            verdict = await others(header, spec.depends_on)
            if verdict.never:
                self._give_up(verdict.never)
                await workflow.wait_condition(lambda: False)
            if not verdict.waits:
                break
            if self.waiting is None or self.waiting.sentence != verdict.waits:
                self.waiting = waits(WAITS_FOR_JOBS, verdict.waits)
                await self._note(header, WAITS_FOR_JOBS, verdict.waits)
            # Told at once by the scheduler; who was terminated tells nobody.
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self.nudged, timeout=ASK_AGAIN, timeout_summary="look again after this"
                )
        if self.waiting is not None:
            self.waiting = None
            await self._note(header, "begins", "the jobs that it waited for have ended")

    async def _until_start(self, header: JobHeader, spec: BatchJobSpec) -> None:
        """Wait for the time to begin; a job that is held from its beginning is told of, too."""
        if left := time_left(spec.start_after):
            self.waiting = waits(NOT_YET, f"begins at {spec.start_after:%Y-%m-%d %H:%M:%S} UTC")
            await self._note(header, NOT_YET, self.waiting.sentence)
            await workflow.sleep(left, summary="begins after this")
            self.waiting = None
            await self._note(header, "begins", "it is time")
        elif self.array.held and not self.array.attempts:
            await self._note(header, HELD, self.array.held.sentence)

    async def _note(self, header: JobHeader, kind: str, message: str, by: str = "") -> None:
        self._show()
        waiting = self.array.held or (self.waiting if self.early else None)
        standing = JobStanding(
            waiting=waiting, dropped=self.array.unwanted.parts, size=self.array.size
        )
        await note(header, standing, kind, message, by)

    async def _ask(self, header: JobHeader, wanted: list[AttemptRequest]) -> list[Placement]:
        """Wait for hosts. When nothing is to be asked for any more, that is taken back."""
        asked = asyncio.create_task(place(header, wanted))
        self.asking = True
        try:
            await workflow.wait_condition(lambda: asked.done() or self._on_hold)
            if asked.done():
                return await asked
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return await withdraw(header, wanted)
        finally:
            asked.cancel()
            self.asking = False

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
        env = child_env(self.job_id, self.array.size, placement.index, placement.attempt)
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
        if spec.on_failure is OnFailure.FAIL_FAST and self.array.hopeless and not self.array.done:
            failed = self.array.ended.get(ChildState.FAILED, 0)
            self._give_up(f"{failed} of {spec.size} children failed for good: it fails fast")

    async def _retry_later(self, index: int, delay_seconds: float) -> None:
        if delay_seconds:
            pause = timedelta(seconds=delay_seconds)
            await workflow.sleep(pause, summary=f"child {index} is tried again after this")
        self.array.ready_again(index)

    async def _stop_running(self) -> None:
        """Cancel every child and wait until its container is gone."""
        kills = self._kills(self.cancel_reason or self.array.stopped or CANCELLED)
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
                result.message or f"{result.failed} of {result.size} children failed for good",
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
            message=self.array.stopped,
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
            waiting=self.array.held or self.waiting,
        )

    @workflow.query(description="Every child of a small array, the open ones of a large one")
    def children(self) -> list[Child]:
        return self.array.children()

    @workflow.signal(description="The scheduler tells why no host was found yet")
    def waiting_for_host(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self._show()

    @workflow.signal(description="A job that this one waits for has ended")
    def others_ended(self) -> None:
        self.nudged = True

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
        self._check_it_goes_on()

    def _check_it_goes_on(self) -> None:
        if self.finished or self.cancel_reason is not None or self.array.stopped:
            raise ApplicationError(
                "the job is ending already", type=ErrorCode.CONFLICT, non_retryable=True
            )

    @workflow.update(description="Ask for no more hosts until a release; what runs may go on")
    async def hold(self, request: HoldRequest) -> BatchStatus:
        await workflow.wait_condition(lambda: self.work is not None)
        self.array.held = waits(HELD, request.reason)
        await self._note(self._job, HELD, request.reason, request.by)
        await workflow.wait_condition(lambda: not self.asking)
        if request.stop_running:
            eviction = Eviction(message=f"the job is held: {request.reason}"[:500])
            running = list(self.placed.values())
            await book_kills([kill for one in running for kill in one.evict(eviction)])
        return self.status()

    @hold.validator
    def _hold_is_possible(self, request: HoldRequest) -> None:  # noqa: ARG002
        self._check_it_goes_on()

    @workflow.update(description="Go on after a hold")
    async def release(self, request: ReleaseRequest) -> BatchStatus:
        await workflow.wait_condition(lambda: self.work is not None)
        self.array.held = None
        await self._note(self._job, "released", request.reason, request.by)
        return self.status()

    @release.validator
    def _release_is_possible(self, request: ReleaseRequest) -> None:  # noqa: ARG002
        self._check_it_goes_on()

    @workflow.update(description="Set how many children there are in all, of one that accumulates")
    async def resize(self, request: ResizeRequest) -> BatchStatus:
        await workflow.wait_condition(lambda: self.work is not None)
        self._check_size(request)
        before = self.array.size
        self.array.resize(request.size, close=request.close)
        message = f"from {before} to {request.size} children: {request.reason}"
        await self._note(self._job, "closed" if request.close else "resized", message, request.by)
        return self.status()

    @resize.validator
    def _resize_is_possible(self, request: ResizeRequest) -> None:
        self._check_it_goes_on()
        if self.work is not None:
            self._check_size(request)

    def _check_size(self, request: ResizeRequest) -> None:
        if not self.array.accumulates:
            raise ApplicationError(
                "it takes no more children: it was submitted without accumulate, or is closed",
                type=ErrorCode.CONFLICT,
                non_retryable=True,
            )
        least = self.array.smallest_size
        if request.size < least:
            raise ApplicationError(
                f"size is {request.size}, but {least} children were asked for or cancelled by now",
                type=ErrorCode.CONFLICT,
                non_retryable=True,
            )

    @workflow.update(description="Cancel some children; the others go on")
    async def cancel_children(self, request: CancelChildren) -> ChildrenCancelled:
        await workflow.wait_condition(lambda: self.work is not None)
        self.recalls += 1
        try:
            asked = sum(self.array.unwanted.add(*each) for each in request.indexes)
            message = f"{_told(request)} cancelled: {request.reason}"
            await self._note(self._job, "childrenCancelled", message, request.by)
            await workflow.wait_condition(lambda: not self.asking)
            waited, running = self.array.drop(request.indexes)
            stopped = [self.placed[index] for index in running if index in self.placed]
            kills = [k for one in stopped for k in one.end(EndReason.KILLED, request.reason)]
            await book_kills(kills)
        finally:
            self.recalls -= 1
        self._show()
        ended = asked - waited - len(kills)
        return ChildrenCancelled(cancelled=waited, stopping=len(kills), ended_already=ended)

    @cancel_children.validator
    def _they_are_there(self, request: CancelChildren) -> None:
        self._check_it_goes_on()
        for _, last in request.indexes:
            if last >= self.array.size > 0:
                raise ApplicationError(
                    f"there is no child {last}: the job has {self.array.size}, from 0 on",
                    type=ErrorCode.INVALID_INPUT,
                    non_retryable=True,
                )


def _told(request: CancelChildren) -> str:
    words = [f"{low}-{high}" if high > low else f"{low}" for low, high in request.indexes[:5]]
    more = len(request.indexes) - len(words)
    return f"children {', '.join(words)}" + (f" and {more} more ranges" if more else "")


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

"""``ContainerTask``: one container, found a host, run to its end, retried by policy."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from fleetwide.containers.describe import task_details
    from fleetwide.containers.retries import Retry, Spent, next_attempt
    from fleetwide.errors import ErrorCode
    from fleetwide.models.base import Waiting
    from fleetwide.models.containers import (
        END_TEXT,
        AttemptKey,
        AttemptRequest,
        AttemptResult,
        ContainerTaskSpec,
        EndReason,
        FinishJob,
        JobHeader,
        JobKind,
        KillRequest,
        PendingCode,
        TaskResult,
        TaskState,
        TaskStatus,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.running import book_attempts, book_end, place, run_on_host, stop_if_cancelled


@workflow.defn(name="ContainerTask")
class ContainerTask:
    """Accepted -> Launched -> Finished; SQL also knows the steps that only the host sees."""

    def __init__(self) -> None:
        self.task_id = workflow.info().workflow_id.removeprefix("task/")
        self.state = TaskState.ACCEPTED
        self.attempt = 1
        self.host_id: str | None = None
        self.image: str | None = None
        self.waiting: Waiting | None = None
        self.past: list[AttemptResult] = []
        self.kill_reason: str | None = None
        self.work: asyncio.Task[AttemptResult] | None = None

    @workflow.run
    async def run(self, spec: ContainerTaskSpec) -> TaskResult:
        header = _header(spec)
        self.work = asyncio.create_task(self._attempts(header))
        cancelled: BaseException | None = None
        try:
            last = await self.work
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            cancelled = None if self.kill_reason else error
            last = self._killed(header)
        result = self._result(last)
        await book_end(
            FinishJob(
                job=header,
                state=TaskState.FINISHED,
                attempts=[last],
                result=result.model_dump(mode="json"),
            )
        )
        self._enter(TaskState.FINISHED)
        workflow.upsert_search_attributes([attributes.STATE.value_set(TaskState.FINISHED)])
        await workflow.wait_condition(workflow.all_handlers_finished)
        if cancelled is not None:
            raise cancelled
        return _ended(result)

    async def _attempts(self, header: JobHeader) -> AttemptResult:
        """Attempt after attempt, until one ends for good."""
        spent = Spent()
        avoid: list[str] = []
        while True:
            result = await self._one_attempt(header, avoid)
            stop_if_cancelled()
            retry = next_attempt(result.reason, header.retry, spent)
            if retry is None:
                return result
            self.past.append(result)
            await book_attempts([result])
            await self._wait_for(retry, result)
            spent, self.attempt = retry.spent, self.attempt + 1
            avoid = [result.host_id] if result.host_id else []

    async def _one_attempt(self, header: JobHeader, avoid: list[str]) -> AttemptResult:
        self._enter(TaskState.ACCEPTED)
        wanted = AttemptRequest(attempt=self.attempt, avoid_hosts=avoid)
        [placement] = await place(header, [wanted])
        self.host_id, self.image, self.waiting = placement.host_id, placement.image, None
        self._enter(TaskState.LAUNCHED)
        self._index(header)
        return await run_on_host(header, placement, {})

    async def _wait_for(self, retry: Retry, result: AttemptResult) -> None:
        """The pause between two attempts, with its reason on show."""
        self.host_id = None
        self.waiting = Waiting(
            code=PendingCode.WAITING_RETRY,
            sentence=f"attempt {self.attempt} {END_TEXT[result.reason]}; "
            f"next try in {retry.delay_seconds:g} s",
            numbers={"delaySeconds": retry.delay_seconds, "attempt": self.attempt + 1},
            since=workflow.now(),
        )
        self._enter(TaskState.ACCEPTED)
        await workflow.sleep(timedelta(seconds=retry.delay_seconds), summary=self.waiting.sentence)
        self.waiting = None

    def _index(self, header: JobHeader) -> None:
        """One event for all attributes: who, what, where."""
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.APP: header.app,
                    attributes.OWNER: header.owner,
                    attributes.PRODUCT: "containers",
                    attributes.STATE: self.state,
                    attributes.HOST: self.host_id,
                    attributes.IMAGE_DIGEST: (self.image or "").partition("@")[2],
                }
            )
        )

    def _enter(self, state: TaskState) -> None:
        self.state = state
        workflow.set_current_details(task_details(self.status()))

    def _killed(self, header: JobHeader) -> AttemptResult:
        message = self.kill_reason or "the workflow was cancelled"
        key = AttemptKey(workflow_id=header.workflow_id, run_id=header.run_id, attempt=self.attempt)
        return AttemptResult(
            key=key,
            host_id=self.host_id,
            reason=EndReason.KILLED,
            message=message,
            finished_at=workflow.now(),
            log_key=key.log_key() if self.host_id else None,
        )

    def _result(self, last: AttemptResult) -> TaskResult:
        return TaskResult(
            task_id=self.task_id,
            state=TaskState.FINISHED,
            image=self.image,
            attempts=self.attempt,
            **last.model_dump(include=set(TaskResult.model_fields) - {"attempts"}),
        )

    @workflow.query(description="State, attempt, host and the reason of a wait")
    def status(self) -> TaskStatus:
        return TaskStatus(
            task_id=self.task_id,
            state=self.state,
            attempt=self.attempt,
            host_id=self.host_id,
            image=self.image,
            waiting=self.waiting,
            past_attempts=self.past,
        )

    @workflow.signal(description="The scheduler tells why no host was found yet")
    def waiting_for_host(self, waiting: Waiting) -> None:
        if self.state is TaskState.ACCEPTED:
            self.waiting = waiting
            workflow.set_current_details(task_details(self.status()))

    @workflow.update(description="Stop the container and end the task, with a reason")
    async def kill(self, request: KillRequest) -> TaskStatus:
        self.kill_reason = request.reason
        # An update may arrive together with the start, before the run method began.
        await workflow.wait_condition(lambda: self.work is not None)
        assert self.work is not None
        self.work.cancel()
        await workflow.wait_condition(lambda: self.state is TaskState.FINISHED)
        return self.status()

    @kill.validator
    def _kill_is_possible(self, request: KillRequest) -> None:  # noqa: ARG002
        if self.state is TaskState.FINISHED or self.kill_reason is not None:
            raise ApplicationError(
                "the task is ending already", type=ErrorCode.CONFLICT, non_retryable=True
            )


def _header(spec: ContainerTaskSpec) -> JobHeader:
    info = workflow.info()
    return JobHeader(
        workflow_id=info.workflow_id,
        run_id=info.run_id,
        kind=JobKind.TASK,
        app=spec.app,
        owner=spec.owner,
        container=spec.container,
        retry=spec.retry,
    )


def _ended(result: TaskResult) -> TaskResult:
    """The workflow's own end: completed for exit code 0 and for a kill, failed for the rest."""
    if result.reason in (EndReason.NORMAL, EndReason.KILLED):
        return result
    raise ApplicationError(
        f"{result.reason}: {result.message}", result, type=ErrorCode.TASK_FAILED, non_retryable=True
    )

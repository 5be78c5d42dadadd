"""``ContainerTask``: one container, found a host, run to its end, retried by policy."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.services import ServiceActivities
    from fleetwide.containers.describe import task_details
    from fleetwide.containers.retries import Retry, hosts_to_avoid, retry_after
    from fleetwide.errors import ErrorCode
    from fleetwide.models.base import Waiting
    from fleetwide.models.containers import (
        AttemptKey,
        AttemptRequest,
        AttemptResult,
        ContainerTaskSpec,
        FinishJob,
        JobHeader,
        JobKind,
        TaskResult,
        TaskStatus,
    )
    from fleetwide.models.evictions import Eviction
    from fleetwide.models.retries import Lineage
    from fleetwide.models.service_documents import ServiceWait
    from fleetwide.models.service_moves import CopyStop
    from fleetwide.models.service_turns import CopyKill
    from fleetwide.models.task_kills import TaskKill
    from fleetwide.models.task_states import (
        END_TEXT,
        END_TRAITS,
        EndReason,
        EndStatus,
        PendingCode,
        TaskState,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.attempts import CANCELLED, RunningAttempt, book_kills
from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.reconciling import Pair
from workflows.running import book_attempts, book_end, fault_result, place, stop_if_cancelled

KINDLY = "kill-of-a-copy-by-its-service"


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
        self.end_reason = EndReason.KILLED
        self.running: RunningAttempt | None = None
        self.work: asyncio.Task[AttemptResult] | None = None
        self.is_copy = False

    @workflow.run
    async def run(self, spec: ContainerTaskSpec) -> TaskResult:
        header = _header(spec)
        self.is_copy = header.membership is not None
        self.work = asyncio.create_task(self._attempts(header))
        cancelled: BaseException | None = None
        try:
            last = await self.work
        except BaseException as error:
            if is_cancelled_exception(error):
                cancelled = None if self.kill_reason else error
                last = self._killed(header)
            elif header.membership is not None and isinstance(error, ActivityError):
                # Its service looks for the end of it in SQL.
                last = fault_result(self._key(header), None, error)
            else:
                raise
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
        lineage, avoid = Lineage(), list[str]()
        while True:
            request = AttemptRequest(attempt=self.attempt, avoid_hosts=avoid, lineage=lineage)
            result = await self._one_attempt(header, request)
            stop_if_cancelled()
            if header.membership is not None:
                return result  # its service starts another
            retry = retry_after(result, header.retry, lineage.spent)
            if retry is None:
                return result
            self.past.append(result)
            await book_attempts([result])
            await self._wait_for(retry, result)
            lineage, avoid = retry.lineage(result.key.attempt), hosts_to_avoid(result)
            self.attempt += 1

    async def _one_attempt(self, header: JobHeader, wanted: AttemptRequest) -> AttemptResult:
        """How it ended, or the one that was kept of it and its replacement."""
        result = await self._placed(header, wanted)
        original = self.running
        retry = retry_after(result, header.retry, wanted.lineage.spent)
        if original is None or retry is None or not original.may_return:
            return result

        async def replace() -> AttemptResult:
            await self._wait_for(retry, result)
            self.attempt += 1
            follows = retry.lineage(original.key.attempt)
            avoid = hosts_to_avoid(result)
            request = AttemptRequest(attempt=self.attempt, avoid_hosts=avoid, lineage=follows)
            return await self._placed(header, request)

        pair = Pair(original, result, replace, lambda: self.running, self._back_to)
        kept = await pair.result()
        if pair.loser is not None:
            self.past.append(pair.loser)
        return kept

    def _back_to(self, original: RunningAttempt) -> None:
        """Its host came back with it, and it is kept."""
        self.running, self.waiting = original, None
        self.host_id, self.image = original.placement.host_id, original.placement.image
        self._enter(TaskState.LAUNCHED)

    async def _placed(self, header: JobHeader, wanted: AttemptRequest) -> AttemptResult:
        self._enter(TaskState.ACCEPTED)
        [placement] = await place(header, [wanted])
        self.host_id, self.image, self.waiting = placement.host_id, placement.image, None
        self._enter(TaskState.LAUNCHED)
        self._index(header)
        extra_env = header.membership.env if header.membership else {}
        self.running = RunningAttempt(header, placement, extra_env)
        return await self.running.result()

    async def _wait_for(self, retry: Retry, result: AttemptResult) -> None:
        """The pause between two attempts, with its reason on show."""
        self.host_id = self.running = None
        self.waiting = Waiting(
            code=PendingCode.WAITING_RETRY,
            sentence=f"attempt {self.attempt} {END_TEXT[result.reason]}; "
            f"next try in {retry.delay_seconds:g} s",
            numbers={"delaySeconds": retry.delay_seconds, "attempt": self.attempt + 1},
            since=workflow.now(),
        )
        self._enter(TaskState.ACCEPTED)
        if retry.delay_seconds:
            pause = timedelta(seconds=retry.delay_seconds)
            await workflow.sleep(pause, summary=self.waiting.sentence)
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
        message = self.kill_reason or CANCELLED
        if self.running is not None:
            killed = self.running.killed()
            return killed.model_copy(update={"reason": self.end_reason, "message": message})
        return AttemptResult(
            key=self._key(header),
            reason=self.end_reason,
            message=message,
            finished_at=workflow.now(),
        )

    def _key(self, header: JobHeader) -> AttemptKey:
        return AttemptKey(
            workflow_id=header.workflow_id, run_id=header.run_id, attempt=self.attempt
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

    @workflow.signal(description="Stop the attempt and try it again, on another host if need be")
    async def evict(self, eviction: Eviction) -> None:
        if self.running is not None:
            await book_kills(self.running.evict(eviction))

    @workflow.signal(description="Its service needs this copy no more, or not here")
    async def stop(self, stop: CopyStop) -> None:
        # A signal may arrive together with the start, before the run method began.
        await workflow.wait_condition(lambda: self.work is not None)
        assert self.work is not None
        if self.state is TaskState.FINISHED or self.kill_reason is not None:
            return
        self.kill_reason, self.end_reason = stop.message or CANCELLED, stop.reason
        self.work.cancel()
        if self.running is not None:
            await book_kills(self.running.stopped(stop.reason, stop.message))

    @workflow.update(description="Stop the container and end the task, with a reason")
    async def kill(self, request: TaskKill) -> TaskStatus:
        # An update may arrive together with the start, before the run method began.
        await workflow.wait_condition(lambda: self.work is not None)
        assert self.work is not None
        if self.is_copy and workflow.patched(KINDLY) and await self._left_to_its_service(request):
            return self.status()
        self.kill_reason = self.kill_reason or request.reason
        self.work.cancel()
        if self.running is not None:
            await book_kills(self.running.stopped(EndReason.KILLED, request.reason))
        await workflow.wait_condition(lambda: self.state is TaskState.FINISHED)
        return self.status()

    async def _left_to_its_service(self, request: TaskKill) -> bool:
        """Whether its service has it stopped, when no load balancer sends it requests any more."""
        info = workflow.current_update_info()
        left: bool = await workflow.execute_local_activity_method(
            ServiceActivities.kill_copy,
            CopyKill(task_id=self.task_id, kill=request, change_id=info.id if info else None),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="have it leave its load balancers",
        )
        if left and self.state is not TaskState.FINISHED:
            self.waiting = Waiting(
                code=ServiceWait.STOPPING,
                sentence=f"it leaves its load balancers, then it is stopped: {request.reason}",
                since=workflow.now(),
            )
            workflow.set_current_details(task_details(self.status()))
        return left or self.state is TaskState.FINISHED

    @kill.validator
    def _kill_is_possible(self, request: TaskKill) -> None:  # noqa: ARG002
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
        labels=spec.labels,
        capacity_group=spec.capacity_group,
        priority=spec.priority,
        container=spec.container,
        retry=spec.retry,
        membership=spec.membership,
        disruption_budget=spec.disruption_budget,
    )


def _ended(result: TaskResult) -> TaskResult:
    """The workflow's own end: completed for exit code 0 and for a kill, failed for the rest."""
    if END_TRAITS[result.reason].status is not EndStatus.FAILED:
        return result
    raise ApplicationError(
        f"{result.reason}: {result.message}", result, type=ErrorCode.TASK_FAILED, non_retryable=True
    )

"""A task whose host fell silent runs elsewhere, and the host comes back: one of the two stays."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from fleetwide.containers.reconciling import original_stays
    from fleetwide.models.containers import AttemptKey, AttemptResult
    from fleetwide.models.returns import FindContainer, FoundContainer
    from fleetwide.models.task_states import EndReason

from workflows.attempts import RunningAttempt, book_kills
from workflows.running import book_attempts, to_the_end

NOT_THERE = FoundContainer()
ANSWER_LIMIT = timedelta(seconds=30)
SOON = timedelta(seconds=10)
TAKE_UP_LIMIT = timedelta(seconds=60)
AGAIN = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=5)
)
Done = TypeVar("Done")
Replace = Callable[[], Coroutine[Any, Any, AttemptResult]]


class Pair:
    """An original on a silent host, and its replacement. Only one of them is ever stopped.

    The replacement is stopped only once the host is at work on the original again; the original
    is stopped by its host, which finds that nobody waits for it any more.
    """

    def __init__(
        self,
        original: RunningAttempt,
        lost: AttemptResult,
        replace: Replace,
        current: Callable[[], RunningAttempt | None],
        back_to: Callable[[RunningAttempt], None],
    ) -> None:
        """``current`` tells the replacement once it has a host; ``back_to`` hears who is kept."""
        self._original = original
        self._lost = lost
        self._replace = replace
        self._current = current
        self._back_to = back_to
        self._tasks: list[asyncio.Task[Any]] = []
        self._seen = False
        self.loser: AttemptResult | None = None
        """How the one ended that was not kept."""

    async def result(self) -> AttemptResult:
        """How the one ended that was kept.

        Raises:
            CancelledError: the task was cancelled; both are being stopped.
        """
        replacing = self._begin(self._replace())
        returning = self._begin(self._returned())
        try:
            await workflow.wait_condition(lambda: replacing.done() or returning.done())
            resumed = returning.result() if returning.done() else None
            if resumed is None:
                await self._give_up_original(returning)
                return await replacing
            other = self._current()
            self._back_to(self._original)
            await self._stop_replacement(other, replacing)
            return await resumed
        except asyncio.CancelledError:
            await to_the_end(self._stop_all)
            raise

    def _begin(self, work: Coroutine[Any, Any, Done]) -> asyncio.Task[Done]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def _returned(self) -> asyncio.Task[AttemptResult] | None:
        """The original, taken up again by its host; None when it does not come back, or may not."""
        original = self._original
        policy = original.header.container.disconnect
        fenced = policy.fenced_after(original.header.container.stop_grace_seconds)
        found = await _find(original, timedelta(seconds=fenced))
        self._seen = found.running
        other = self._current()
        beside = await _find(other, SOON) if found.running and other else NOT_THERE
        if not original_stays(policy.reconcile, found, beside):
            return None
        resumed = self._begin(original.result(resume=True))
        held = await _find(original, TAKE_UP_LIMIT, taken_up=True)
        if held.running and not resumed.done():
            return resumed
        resumed.cancel()
        await asyncio.gather(resumed, return_exceptions=True)
        self._seen = False
        return None

    async def _give_up_original(self, returning: asyncio.Task[Any]) -> None:
        returning.cancel()
        await asyncio.gather(returning, return_exceptions=True)
        self.loser = self._lost
        if self._seen:
            message = "its host came back, and its replacement was kept"
            told = {"reason": EndReason.SUPERSEDED, "message": message}
            self.loser = self._lost.model_copy(update=told)
        await book_attempts([self.loser])

    async def _stop_replacement(
        self, other: RunningAttempt | None, replacing: asyncio.Task[AttemptResult]
    ) -> None:
        """Stop it, wherever it is on its way, and book its end."""
        message = f"host {self._original.placement.host_id} came back with the original"
        if other is not None:
            await book_kills(other.stopped(EndReason.SUPERSEDED, message))
        replacing.cancel()
        try:
            self.loser = await replacing
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            self.loser = other.killed() if other else self._never_ran(message)
        await book_attempts([self.loser])

    def _never_ran(self, message: str) -> AttemptResult:
        key: AttemptKey = self._original.key
        return AttemptResult(
            key=key.model_copy(update={"attempt": key.attempt + 1}),
            reason=EndReason.SUPERSEDED,
            message=message,
            finished_at=workflow.now(),
        )

    async def _stop_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _find(
    attempt: RunningAttempt, within: timedelta, *, taken_up: bool = False
) -> FoundContainer:
    """What the attempt's host says of its container, once it answers; nothing when it does not."""
    try:
        found: FoundContainer = await workflow.execute_activity(
            "hosts.find_container",
            FindContainer(key=attempt.key, taken_up=taken_up),
            result_type=FoundContainer,
            task_queue=attempt.placement.task_queue,
            schedule_to_close_timeout=within,
            start_to_close_timeout=ANSWER_LIMIT,
            retry_policy=AGAIN,
            summary=f"ask {attempt.placement.host_id} for attempt {attempt.key.attempt}",
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return NOT_THERE
    return found

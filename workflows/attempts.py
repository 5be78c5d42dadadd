"""One attempt on its host, which can be told to leave before it ends by itself."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.containers import ContainerActivities
    from fleetwide.models.containers import AttemptKey, AttemptResult, JobHeader, Placement
    from fleetwide.models.evictions import AttemptKill, Eviction
    from fleetwide.models.task_states import EndReason

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.running import run_on_host, to_the_end
from workflows.silence import Silence, surely_stopped

CANCELLED = "the workflow was cancelled"


class RunningAttempt:
    """A placed attempt. The first reason to stop it stays; its own end comes before any."""

    def __init__(self, header: JobHeader, placement: Placement, extra_env: dict[str, str]) -> None:
        self.header = header
        self.placement = placement
        self.extra_env = extra_env
        self.kill: AttemptKill | None = None
        self.evidence: AttemptResult | None = None
        self._leave = False
        self._result: AttemptResult | None = None
        self._silence = Silence(self.key, placement.host_id, header.container)

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(
            workflow_id=self.header.workflow_id,
            run_id=self.header.run_id,
            index=self.placement.index,
            attempt=self.placement.attempt,
        )

    def evict(self, eviction: Eviction) -> list[AttemptKill]:
        """Have it leave its host, if it is meant and not being stopped; what is to be booked."""
        placed = self.placement
        meant = eviction.means(placed.index, placed.host_id, placed.attempt)
        if not meant or eviction.is_late(workflow.now()):
            return []
        return self.end(eviction.reason, eviction.message)

    def end(self, reason: EndReason, message: str) -> list[AttemptKill]:
        """Have it stopped by itself, while others go on; what is to be booked."""
        if self._result:
            return []
        noted = self.stopped(reason, message)
        self._leave = self._leave or bool(noted)
        return noted

    def stopped(self, reason: EndReason, message: str) -> list[AttemptKill]:
        """Note why it is being stopped; empty when it is already."""
        if self.kill is not None:
            return []
        self.kill = AttemptKill(key=self.key, reason=reason, message=message)
        return [self.kill]

    @property
    def may_return(self) -> bool:
        """Whether it is given up, and its policy may keep it when its host comes back with it."""
        return self._silence.given_up and self.header.container.disconnect.reconciles

    async def result(self, *, resume: bool = False) -> AttemptResult:
        """How it ended, by itself or because it had to leave; ``resume`` takes it up once more.

        Raises:
            CancelledError: the caller was cancelled; the container is gone by then.
        """
        self._result = None
        run = asyncio.create_task(
            run_on_host(self.header, self.placement, self.extra_env, self._silence, resume=resume)
        )
        try:
            # Looked at when all else has been: an end that comes with an eviction counts.
            await workflow.wait_condition(lambda: run.done() or self._leave)
        except asyncio.CancelledError:
            await to_the_end(lambda: self._stop(run))
            raise
        if run.done():
            self._result = await run
        else:
            await to_the_end(lambda: self._stop(run))
            if self._result is None and self.evidence is None:
                # Its host did not answer: it may run there until the fence.
                await surely_stopped(self.key, self.placement.host_id, self.header.container)
        return self._result or self.killed()

    async def _stop(self, run: asyncio.Task[AttemptResult]) -> None:
        """Stop the container and wait until it is gone; keep what its host says of it."""
        run.cancel()
        await book_kills(self.stopped(EndReason.KILLED, CANCELLED))
        try:
            ended = await run
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
        else:
            if ended.reason is EndReason.KILLED:
                self.evidence = ended
            else:
                self._result = ended

    def killed(self) -> AttemptResult:
        """The result of an attempt that was stopped, with the evidence that there is."""
        [kill] = [self.kill] if self.kill else self.stopped(EndReason.KILLED, CANCELLED)
        told = (
            self._result
            or self.evidence
            or AttemptResult(
                key=self.key,
                host_id=self.placement.host_id,
                reason=kill.reason,
                message=kill.message,
                finished_at=workflow.now(),
                log_key=self.key.log_key(),
            )
        )
        return told.model_copy(update={"reason": kill.reason, "message": kill.message})


async def book_kills(kills: list[AttemptKill]) -> None:
    """Write down which attempts are being stopped, and why."""
    if kills:
        await workflow.execute_local_activity_method(
            ContainerActivities.record_kills,
            kills,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"book {len(kills)} attempts that are being stopped",
        )

"""``CapacityRequest``: more for a queue once somebody else approves it, back when it is over."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.capacity_requests import CapacityRequestActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.base import Waiting
    from fleetwide.models.capacity_requests import (
        CapacityDecision,
        CapacityNote,
        CapacityOutcome,
        CapacityRequestSpec,
        CapacityRequestStatus,
        CapacityStep,
        RequestState,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.running import to_the_end

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)
OPEN = (RequestState.PENDING, RequestState.APPROVED)


@workflow.defn(name="CapacityRequest")
class CapacityRequest:
    """Waits for a decision, and for the end of what was given for a while."""

    def __init__(self) -> None:
        self.request_id = workflow.info().workflow_id.removeprefix("capacity-request/")
        self.status_ = CapacityRequestStatus(request_id=self.request_id)
        self.spec: CapacityRequestSpec | None = None
        self.version = 0
        self.withdrawn = False
        self.ended = False

    @workflow.run
    async def run(self, spec: CapacityRequestSpec) -> CapacityRequestStatus:
        self.spec = spec
        try:
            await self._wait_for_approval(f"somebody other than {spec.by} has to decide")
            await self._until_decided(spec)
            if self.status_.state is RequestState.APPLIED and spec.until is not None:
                await self._until_over(spec)
                await to_the_end(self._give_back)
        except BaseException as error:
            if is_cancelled_exception(error):
                await to_the_end(self._stop)
            raise
        await to_the_end(self._end)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.status_

    async def _until_decided(self, spec: CapacityRequestSpec) -> None:
        """A decision that is being applied when the time is over still counts."""
        try:
            await workflow.wait_condition(
                lambda: self.status_.state not in OPEN, timeout=self._left(spec)
            )
        except TimeoutError:
            await workflow.wait_condition(lambda: self.status_.state is not RequestState.APPROVED)
            if self.status_.state is RequestState.PENDING:
                self._change(state=RequestState.EXPIRED, waiting=None)

    async def _until_over(self, spec: CapacityRequestSpec) -> None:
        try:
            await workflow.wait_condition(lambda: self.withdrawn, timeout=self._left(spec))
        except TimeoutError:
            return

    def _left(self, spec: CapacityRequestSpec) -> timedelta | None:
        if spec.until is None:
            return None
        return max(spec.until - workflow.now(), timedelta())

    async def _give_back(self) -> None:
        """Until the queues let it go: others may have been given of it meanwhile."""
        pause = FIRST_PAUSE
        while not (outcome := await self._change_queues(give_back=True)).applied:
            await self._wait("NotGivenBack", f"queues still need it: {outcome.refusal}")
            await workflow.sleep(pause, summary="before it is tried again to give it back")
            pause = min(2 * pause, LONGEST_PAUSE)
        ended = RequestState.WITHDRAWN if self.withdrawn else RequestState.EXPIRED
        self._change(state=ended, waiting=None)

    async def _stop(self) -> None:
        """Cancelled: what was given for a while goes back, what is not decided never is."""
        await workflow.wait_condition(lambda: self.status_.state is not RequestState.APPROVED)
        self.withdrawn = True
        if self.status_.state is RequestState.APPLIED and self.spec and self.spec.until:
            await self._give_back()
        elif self.status_.state is RequestState.PENDING:
            self._change(state=RequestState.WITHDRAWN, waiting=None, decision="cancelled")
        await self._end()
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _end(self) -> None:
        self._change(ended_at=workflow.now())
        await self._tell()
        self.ended = True

    async def _wait_for_approval(self, sentence: str) -> None:
        await self._wait("WaitingForApproval", sentence)

    async def _wait(self, code: str, sentence: str) -> None:
        self._change(waiting=Waiting(code=code, sentence=sentence, since=workflow.now()))
        await self._tell()

    def _change(self, **values: Any) -> None:
        self.status_ = self.status_.model_copy(update=values)

    async def _change_queues(self, *, give_back: bool = False) -> CapacityOutcome:
        assert self.spec is not None
        what = "given back" if give_back else "applied"
        step = CapacityStep(
            request_id=self.request_id,
            run_id=workflow.info().first_execution_run_id,
            spec=self.spec,
            by=self.status_.decided_by,
            reason=f"capacity request {self.request_id} {what}: {self.spec.reason}"[:500],
            give_back=give_back,
        )
        outcome: CapacityOutcome = await workflow.execute_activity_method(
            CapacityRequestActivities.change_capacity,
            step,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"{self.spec.queue}: {what}",
        )
        return outcome

    async def _tell(self) -> None:
        """Write the row, and show the same in the Web UI."""
        assert self.spec is not None
        self.version += 1
        self._show(self.spec)
        note = CapacityNote(
            request_id=self.request_id,
            run_id=workflow.info().run_id,
            version=self.version,
            spec=self.spec,
            status=self.status_,
        )
        await workflow.execute_activity_method(
            CapacityRequestActivities.note_request,
            note,
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary=f"note that it is {self.status_.state}",
        )

    def _show(self, spec: CapacityRequestSpec) -> None:
        status = self.status_
        lines = [f"**{status.state}**: more for queue `{spec.queue}`, asked for by {spec.by}"]
        lines.append(f"- why: {spec.reason}")
        if spec.until is not None:
            lines.append(f"- until {spec.until:%Y-%m-%d %H:%M:%S %Z}")
        if status.decided_by:
            lines.append(f"- {status.decided_by}: {status.decision}")
        if status.waiting is not None:
            lines.append(status.waiting.markdown())
        workflow.set_current_details("\n".join(lines))
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "batch",
                    attributes.QUEUE: spec.queue,
                    attributes.OWNER: spec.by,
                    attributes.STATE: status.state,
                }
            )
        )

    @workflow.query(description="Where it stands, who decided, what it waits for")
    def status(self) -> CapacityRequestStatus:
        return self.status_

    @workflow.update(description="Give the queue what is asked for; not by who asks")
    async def approve(self, decision: CapacityDecision) -> CapacityRequestStatus:
        await self._decide(RequestState.APPROVED, decision)
        outcome = await self._change_queues()
        if outcome.applied:
            self._change(state=RequestState.APPLIED, applied_at=workflow.now())
            await self._tell()
            return self.status_
        self._change(state=RequestState.PENDING, decided_by="", decision="", decided_at=None)
        await self._wait("DoesNotFit", f"the queues refuse it: {outcome.refusal}")
        raise _conflict(f"it is approved, but the queues refuse it: {outcome.refusal}")

    @workflow.update(description="Let it be; not by who asks")
    async def reject(self, decision: CapacityDecision) -> CapacityRequestStatus:
        await self._decide(RequestState.REJECTED, decision)
        await workflow.wait_condition(lambda: self.ended)
        return self.status_

    @workflow.update(description="Ask for it no more; what was given for a while goes back")
    async def withdraw(self, decision: CapacityDecision) -> CapacityRequestStatus:
        await workflow.wait_condition(lambda: self.version > 0)
        self._refuse(self._cannot_withdraw())
        if self.status_.state is RequestState.APPLIED:
            self._change(decided_by=decision.by, decision=decision.reason)
        else:
            self._settle(RequestState.WITHDRAWN, decision)
        self.withdrawn = True
        await workflow.wait_condition(lambda: self.ended)
        return self.status_

    async def _decide(self, state: RequestState, decision: CapacityDecision) -> None:
        # An update may arrive together with the start, before the run method began.
        await workflow.wait_condition(lambda: self.version > 0)
        self._refuse(self._cannot_decide(decision))
        self._settle(state, decision)
        if state is RequestState.APPROVED:
            await self._tell()

    def _settle(self, state: RequestState, decision: CapacityDecision) -> None:
        self._change(
            state=state,
            decided_by=decision.by,
            decision=decision.reason,
            decided_at=workflow.now(),
            waiting=None,
        )

    @approve.validator
    def _approve_is_possible(self, decision: CapacityDecision) -> None:
        self._refuse(self._cannot_decide(decision))

    @reject.validator
    def _reject_is_possible(self, decision: CapacityDecision) -> None:
        self._refuse(self._cannot_decide(decision))

    @withdraw.validator
    def _withdraw_is_possible(self, decision: CapacityDecision) -> None:  # noqa: ARG002
        self._refuse(self._cannot_withdraw())

    def _cannot_decide(self, decision: CapacityDecision) -> str | None:
        if self.status_.state is not RequestState.PENDING:
            return f"the request is {self.status_.state} already"
        if self.spec is not None and _same(decision.by, self.spec.by):
            return f"{decision.by} asked for it: somebody else has to decide"
        return None

    def _cannot_withdraw(self) -> str | None:
        status, spec = self.status_, self.spec
        lent = status.state is RequestState.APPLIED and spec is not None and spec.until is not None
        if status.state is RequestState.PENDING or (lent and not self.withdrawn):
            return None
        return f"the request is {status.state} already"

    def _refuse(self, why: str | None) -> None:
        if why is not None:
            raise _conflict(why)


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _conflict(why: str) -> ApplicationError:
    return ApplicationError(why, type=ErrorCode.CONFLICT, non_retryable=True)

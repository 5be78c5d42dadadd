"""``RegistryRetention``: a report of the tags that would go; then, when told to, their end."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.registry_retention import RegistryRetentionActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.registry_retention import (
        ApplyRequest,
        JudgedPage,
        JudgePage,
        RegistryRetentionRequest,
        RetentionPhase,
        RetentionPlan,
        RetentionReport,
        RetentionState,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.baseos_steps import book
from workflows.policies import PERSISTENT
from workflows.running import stop_if_cancelled

PAGE_LIMIT = timedelta(hours=1)
"""One page of repositories takes seconds, but a repository of a million tags is one page."""
PAGE_HEARTBEAT = timedelta(seconds=60)
POLICY = "the retention policy"
KEEPS_REPORTS = "retention-keeps-reports"


@workflow.defn(name="RegistryRetention")
class RegistryRetention:
    """Nothing goes that the report did not count: both judge for the same moment and rules."""

    @workflow.init
    def __init__(self, request: RegistryRetentionRequest) -> None:
        self.request = request
        self.report = request.so_far.report if request.so_far else RetentionReport()
        self.by = request.by or POLICY
        self.reason = request.reason

    @workflow.run
    async def run(self, request: RegistryRetentionRequest) -> RetentionReport:
        workflow.upsert_search_attributes(attributes.updates({attributes.PRODUCT: "registry"}))
        plan = request.so_far.plan if request.so_far else await self._plan()
        after = request.so_far.after if request.so_far else ""
        if self.report.phase is RetentionPhase.WRITING:
            await self._judge(plan, after)
            after = ""
            if not await self._may_apply():
                self._enter(RetentionPhase.OVER)
                await self._keep()
                return self.report
            self._enter(RetentionPhase.APPLYING)
        await self._apply(plan, after)
        self._enter(RetentionPhase.APPLIED)
        await self._keep()
        return self.report

    async def _plan(self) -> RetentionPlan:
        plan: RetentionPlan = await book(
            RegistryRetentionActivities.plan_retention,
            self.request,
            summary="read the rules of the policy",
        )
        self.report = RetentionReport(at=plan.at, source=plan.source)
        return plan

    async def _judge(self, plan: RetentionPlan, after: str | None) -> None:
        while after is not None:
            page = await self._page(plan, after, apply=False)
            self.report = self.report.plus(page)
            self._show()
            after = page.next
            self._go_on_in_another_run(plan, after)

    async def _apply(self, plan: RetentionPlan, after: str | None) -> None:
        while after is not None:
            page = await self._page(plan, after, apply=True)
            ended = self.report.ended + page.ended
            self.report = self.report.model_copy(update={"ended": ended})
            self._show()
            after = page.next
            self._go_on_in_another_run(plan, after)

    async def _page(self, plan: RetentionPlan, after: str, *, apply: bool) -> JudgedPage:
        page = JudgePage(
            plan=plan,
            repositories=self.request.repositories,
            after=after,
            apply=apply,
            by=self.by,
            reason=self.reason,
        )
        verb = "end the tags that go" if apply else "look which tags would go"
        result: JudgedPage = await workflow.execute_activity_method(
            RegistryRetentionActivities.judge_repositories,
            page,
            start_to_close_timeout=PAGE_LIMIT,
            heartbeat_timeout=PAGE_HEARTBEAT,
            retry_policy=PERSISTENT,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"{verb}, from {after or 'the first repository'} on",
        )
        stop_if_cancelled()
        return result

    def _go_on_in_another_run(self, plan: RetentionPlan, after: str | None) -> None:
        if after is None or not workflow.info().is_continue_as_new_suggested():
            return
        state = RetentionState(plan=plan, report=self.report, after=after)
        update = {"so_far": state, "by": self.by, "reason": self.reason}
        workflow.continue_as_new(self.request.model_copy(update=update))

    async def _may_apply(self) -> bool:
        """Whether something goes, and somebody says so in time."""
        if self.request.apply or not self.report.goes:
            return bool(self.report.goes)
        self._enter(RetentionPhase.WAITING)
        await self._keep()
        try:
            await workflow.wait_condition(
                lambda: self.report.phase is RetentionPhase.APPLYING,
                timeout=timedelta(hours=self.request.wait_hours),
                timeout_summary="somebody lets the reported tags go",
            )
        except TimeoutError:
            return False
        return True

    async def _keep(self) -> None:
        """Let the report outlive this history."""
        # What began before reports were kept goes on without.
        if workflow.patched(KEEPS_REPORTS):
            keep = RegistryRetentionActivities.keep_retention
            await book(keep, self.report, summary="keep the report")

    def _enter(self, phase: RetentionPhase) -> None:
        self.report = self.report.model_copy(update={"phase": phase})
        self._show()

    def _show(self) -> None:
        waits = self.report.phase is RetentionPhase.WAITING
        told = f"**{self.report.sentence}**" + ("; waits for `apply`" if waits else "")
        shares = [f"- {one.repository}: {one.goes}" for one in self.report.shares[:20]]
        workflow.set_current_details("\n".join([told, "", *shares]))

    @workflow.query(description="The report as far as it is written")
    def status(self) -> RetentionReport:
        return self.report

    @workflow.update(description="Let the tags go that the report counts")
    async def apply(self, request: ApplyRequest) -> RetentionReport:
        self.by, self.reason = request.by or self.by, request.reason or self.reason
        self._enter(RetentionPhase.APPLYING)
        return self.report

    @apply.validator
    def _apply_is_possible(self, request: ApplyRequest) -> None:  # noqa: ARG002
        if self.report.phase is not RetentionPhase.WAITING:
            raise ApplicationError(
                f"the report does not wait to be applied: it is {self.report.phase}",
                type=ErrorCode.CONFLICT,
                non_retryable=True,
            )

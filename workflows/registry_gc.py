"""``RegistryGarbageCollection``: remove what nobody needs, while the registry goes on."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.registry import GarbageActivities
    from fleetwide.errors import Conflict
    from fleetwide.models.registry_gc import (
        BatchDone,
        GarbageBatch,
        GarbagePhase,
        GarbageReport,
        GarbageRequest,
        GarbageStatus,
        PauseRequest,
        RateRequest,
        UpkeepKind,
        UpkeepRun,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import PERSISTENT, STORAGE
from workflows.running import stop_if_cancelled

HEARTBEAT = timedelta(seconds=60)
LIMIT = timedelta(hours=24)
PLANS_LEFTOVERS = "dry runs count old uploads"
LEFTOVERS_GO_ON = "leftovers go on in another run"
"""Marks in the histories of collections that began before this was so."""


async def on_storage(activity: Any, *arguments: Any, summary: str) -> Any:
    """A step next to Distribution's storage: it can be repeated, so it is, until it is done."""
    result = await workflow.execute_activity_method(
        activity,
        args=list(arguments),
        task_queue=STORAGE,
        start_to_close_timeout=LIMIT,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=PERSISTENT,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )
    stop_if_cancelled()
    return result


async def keep_report(kind: UpkeepKind, sentence: str, report: Any) -> None:
    """Let the run's report outlive its history."""
    await on_storage(
        GarbageActivities.record_upkeep,
        UpkeepRun(kind=kind, sentence=sentence, report=report.model_dump(mode="json")),
        summary="keep the report",
    )


def label() -> None:
    workflow.upsert_search_attributes(attributes.updates({attributes.PRODUCT: "registry"}))


@workflow.defn(name="RegistryGarbageCollection")
class RegistryGarbageCollection:
    """Batch after batch, until nothing is due any more; people can let it pause or slow it down."""

    @workflow.init
    def __init__(self, request: GarbageRequest) -> None:
        self.request = request
        self.report = request.so_far
        self.phase = GarbagePhase.BEGIN
        self.per_second = request.per_second
        self.paused = request.paused
        self.reason = ""

    @workflow.run
    async def run(self, request: GarbageRequest) -> GarbageReport:
        label()
        if not request.cursor:
            await (self._plan() if request.dry_run else self._reviews())
        if not request.dry_run or workflow.patched(PLANS_LEFTOVERS):
            await self._leftovers(request.cursor)
        self._enter(GarbagePhase.DONE)
        await keep_report(UpkeepKind.GARBAGE, self.report.sentence, self.report)
        return self.report

    async def _plan(self) -> None:
        self._enter(GarbagePhase.PLAN)
        self.report = await on_storage(
            GarbageActivities.plan_garbage, summary="look what a collection would free"
        )

    async def _reviews(self) -> None:
        self._enter(GarbagePhase.REVIEWS)
        while (await self._batch(GarbageActivities.collect_garbage, "review what is due")).more:
            pass

    async def _leftovers(self, cursor: str) -> None:
        self._enter(GarbagePhase.LEFTOVERS)
        summary = "count old uploads" if self.request.dry_run else "remove old uploads"
        while True:
            activity = GarbageActivities.collect_leftovers
            done = await self._batch(activity, summary, cursor)
            cursor = done.cursor
            if not done.more:
                return

    async def _batch(self, activity: Any, summary: str, cursor: str = "") -> BatchDone:
        await workflow.wait_condition(lambda: not self.paused)
        if workflow.info().is_continue_as_new_suggested() and (
            not cursor or workflow.patched(LEFTOVERS_GO_ON)
        ):
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(self._rest(cursor))
        batch = GarbageBatch(
            limit=self.request.batch,
            per_second=self.per_second,
            cursor=cursor,
            dry_run=self.request.dry_run,
        )
        done: BatchDone = await on_storage(activity, batch, summary=summary)
        self.report = self.report.plus(done.report)
        self._enter(self.phase)
        return done

    def _rest(self, cursor: str) -> GarbageRequest:
        """What a next run has to do: the queue itself says where to go on with reviews."""
        return self.request.model_copy(
            update={
                "cursor": cursor,
                "so_far": self.report,
                "per_second": self.per_second,
                "paused": self.paused,
            }
        )

    def _enter(self, phase: GarbagePhase) -> None:
        self.phase = phase
        stands = f"paused: {self.reason}" if self.paused else str(phase)
        workflow.set_current_details(f"**{stands}**\n\n{self.report.sentence}")

    @workflow.query
    def status(self) -> GarbageStatus:
        return GarbageStatus(
            phase=self.phase,
            paused=self.paused,
            reason=self.reason,
            per_second=self.per_second,
            report=self.report,
        )

    @workflow.update
    def pause(self, request: PauseRequest) -> GarbageStatus:
        """Do nothing more after the batch that runs, until ``resume``."""
        self._set_paused(request, paused=True)
        return self.status()

    @pause.validator
    def check_pause(self, request: PauseRequest) -> None:  # noqa: ARG002
        if self.paused:
            raise Conflict("the collection is paused already")
        self._refuse_when_done()

    @workflow.update
    def resume(self, request: PauseRequest) -> GarbageStatus:
        self._set_paused(request, paused=False)
        return self.status()

    @resume.validator
    def check_resume(self, request: PauseRequest) -> None:  # noqa: ARG002
        if not self.paused:
            raise Conflict("the collection is not paused")

    @workflow.update
    def set_rate(self, request: RateRequest) -> GarbageStatus:
        """How many things are looked at in a second, from the next batch on."""
        self.per_second = request.per_second
        return self.status()

    @set_rate.validator
    def check_rate(self, request: RateRequest) -> None:  # noqa: ARG002
        self._refuse_when_done()

    def _refuse_when_done(self) -> None:
        if self.phase is GarbagePhase.DONE:
            raise Conflict("the collection has done its work already")

    def _set_paused(self, request: PauseRequest, *, paused: bool) -> None:
        self.paused = paused
        self.reason = f"{request.reason} ({request.by})" if request.by else request.reason
        self._enter(self.phase)

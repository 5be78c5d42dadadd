"""``RegistryReconcile`` and ``RegistryScrub``: see that index and storage agree, and are whole."""

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.registry_reconcile import ReconcileActivities
    from activities.registry_scrub import ScrubActivities
    from fleetwide.models.registry_gc import (
        Adoption,
        NamesRequest,
        ReconcileOne,
        ReconcileReport,
        ReconcileRequest,
        ReconcileStage,
        ScrubBatch,
        ScrubDone,
        ScrubReport,
        ScrubRequest,
        UpkeepKind,
    )

from workflows.registry_gc import keep_report, label, on_storage

NAMES_AT_A_TIME = 100
SCRUB_SECONDS = 300.0
NEXT = {
    ReconcileStage.INDEX: ReconcileStage.STORAGE,
    ReconcileStage.STORAGE: ReconcileStage.BLOBS,
    ReconcileStage.BLOBS: ReconcileStage.DONE,
}


@workflow.defn(name="RegistryReconcile")
class RegistryReconcile:
    """Repository by repository, each in an activity of its own; then the blobs."""

    @workflow.init
    def __init__(self, request: ReconcileRequest) -> None:
        self.request = request
        self.report = request.so_far
        self.at = request.cursor

    @workflow.run
    async def run(self, request: ReconcileRequest) -> ReconcileReport:
        label()
        if request.repository is not None:
            await self._compare(ReconcileStage.INDEX, request.repository)
        else:
            stage, cursor = request.stage, request.cursor
            while stage is not ReconcileStage.DONE:
                stage, cursor = await self._page(stage, cursor)
        await keep_report(UpkeepKind.RECONCILE, self.report.sentence, self.report)
        return self.report

    async def _page(self, stage: ReconcileStage, cursor: str) -> tuple[ReconcileStage, str]:
        """Compare some names; where to go on."""
        if workflow.info().is_continue_as_new_suggested():
            update = {"stage": stage, "cursor": cursor, "so_far": self.report}
            workflow.continue_as_new(self.request.model_copy(update=update))
        names: list[str] = await on_storage(
            ReconcileActivities.list_names,
            NamesRequest(stage=stage, after=cursor, limit=NAMES_AT_A_TIME),
            summary=f"list names of the {stage} from behind {cursor or 'the start'}",
        )
        for name in names:
            await self._compare(stage, name)
        if len(names) < NAMES_AT_A_TIME:
            return NEXT[stage], ""
        return stage, names[-1]

    async def _compare(self, stage: ReconcileStage, name: str) -> None:
        blobs = stage is ReconcileStage.BLOBS
        activity: Any = (
            ReconcileActivities.reconcile_blobs
            if blobs
            else ReconcileActivities.reconcile_repository
        )
        # Blobs of what was only told of look like strays: then none is queued for removal.
        spare = blobs and self.report.told > 0
        one = ReconcileOne(
            name=name,
            adoption=Adoption.ALARM if spare else self.request.adoption,
            settle_seconds=self.request.settle_seconds,
        )
        summary = f"compare blobs {name}" if blobs else f"compare {name}"
        while True:
            found: ReconcileReport = await on_storage(activity, one, summary=summary)
            self.report = self.report.plus(found)
            self.at = name
            workflow.set_current_details(f"at {name}: {self.report.sentence}")
            if not found.rest:
                return
            one = one.model_copy(update={"rest": found.rest})

    @workflow.query
    def status(self) -> ReconcileReport:
        return self.report


@workflow.defn(name="RegistryScrub")
class RegistryScrub:
    """Read every blob again, slowly, and see whether it still is what its digest says."""

    @workflow.init
    def __init__(self, request: ScrubRequest) -> None:
        self.report = request.so_far

    @workflow.run
    async def run(self, request: ScrubRequest) -> ScrubReport:
        label()
        cursor: str | None = request.after
        while cursor is not None:
            if workflow.info().is_continue_as_new_suggested():
                update = {"after": cursor, "so_far": self.report}
                workflow.continue_as_new(request.model_copy(update=update))
            batch = ScrubBatch(
                after=cursor, bytes_per_second=request.bytes_per_second, seconds=SCRUB_SECONDS
            )
            done: ScrubDone = await on_storage(
                ScrubActivities.scrub_blobs,
                batch,
                summary=f"read blobs from behind {cursor[:19] or 'the start'}",
            )
            cursor = done.cursor
            self.report = self.report.plus(done.report)
            workflow.set_current_details(self.report.sentence)
        await keep_report(UpkeepKind.SCRUB, self.report.sentence, self.report)
        return self.report

    @workflow.query
    def status(self) -> ScrubReport:
        return self.report

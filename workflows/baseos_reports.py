"""``OSImagePlan``, ``OSFixesAvailable`` and ``OSRetention``: questions about a line, its upkeep."""

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.baseos import ReleaseActivities
    from activities.baseos_amis import AmiActivities
    from activities.baseos_builds import OSBuildActivities
    from activities.baseos_reports import BuilderQuestions, ReleaseQuestions
    from fleetwide.baseos.plans import make_plan
    from fleetwide.models.baseos import OSImageSpec
    from fleetwide.models.os_releases import OSRelease, ReleaseState, StandRequest
    from fleetwide.models.os_reports import (
        FixesReport,
        FixesRequest,
        KeptRelease,
        PlanPreview,
        RetentionReport,
        RetentionRequest,
    )
    from fleetwide.models.os_steps import (
        DropAmis,
        LineQuery,
        PreviewRequest,
        ReviewedRelease,
        SameBuild,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows import baseos_steps as steps

POLICY = "the retention policy"


def _label(name: str) -> None:
    workflow.upsert_search_attributes(
        attributes.updates({attributes.PRODUCT: "baseos", attributes.APP: name})
    )


@workflow.defn(name="OSImagePlan")
class OSImagePlan:
    """What a build of the spec would do now; nothing is built and no version is claimed."""

    @workflow.run
    async def run(self, spec: OSImageSpec) -> PlanPreview:
        _label(spec.name)
        last: OSRelease | None = await steps.book(
            ReleaseQuestions.latest_release,
            LineQuery(name=spec.name),
            summary=f"look up the last release of {spec.name}",
        )
        plan = make_plan(spec, spec.version or "next", workflow.info().workflow_id)
        preview: PlanPreview = await steps.on_builder(
            BuilderQuestions.preview_build,
            PreviewRequest(plan=plan, against=last),
            f"resolve the packages of {spec.distribution} {spec.suite}",
        )
        same: str | None = await steps.book(
            ReleaseQuestions.find_same,
            SameBuild(name=spec.name, build_key=preview.build_key),
            summary="look for a release with these bytes",
        )
        workflow.set_current_details(f"**{spec.name}**: {preview.summary}")
        return preview.model_copy(update={"unchanged": same})


@workflow.defn(name="OSFixesAvailable")
class OSFixesAvailable:
    """Which published fixes a release lacks. It is no vulnerability scan."""

    @workflow.run
    async def run(self, request: FixesRequest) -> FixesReport:
        _label(request.name)
        release: OSRelease = await steps.book(
            ReleaseQuestions.get_release,
            LineQuery(name=request.name, pointer=request.pointer),
            summary=f"look up {request.name}:{request.pointer}",
        )
        report: FixesReport = await steps.on_builder(
            BuilderQuestions.find_fixes,
            release,
            f"compare {release.name} {release.version} with the security suite",
        )
        cves = {cve for fix in report.fixes for cve in fix.cves}
        workflow.set_current_details(
            f"**{release.name} {release.version}**: {len(report.fixes)} packages have fixes, "
            f"which name {len(cves)} CVEs"
        )
        return report


@workflow.defn(name="OSRetention")
class OSRetention:
    """Retire the releases that the policy lets go and that nobody uses."""

    @workflow.run
    async def run(self, request: RetentionRequest) -> RetentionReport:
        _label(request.name)
        reviewed: list[ReviewedRelease] = await steps.book(
            ReleaseQuestions.review_releases,
            request,
            summary=f"look for releases of {request.name} beyond {request.retention.keep}",
        )
        retired: list[str] = []
        kept: list[KeptRelease] = []
        for one in reviewed:
            reasons = one.reasons or await self._instances(one.release)
            if reasons:
                kept.append(KeptRelease(version=one.release.version, reasons=reasons))
                continue
            if not request.dry_run:
                await self._retire(one.release)
            retired.append(one.release.version)
        swept: list[str] = []
        if not request.dry_run:
            swept = await steps.in_cloud(
                AmiActivities.sweep_cloud,
                LineQuery(name=request.name),
                "remove what cut-off builds left in the cloud",
            )
        workflow.set_current_details(
            f"**{request.name}**: {len(retired)} retired, {len(kept)} kept because they are in "
            f"use, {len(swept)} leftovers removed"
        )
        return RetentionReport(
            name=request.name, retired=retired, kept=kept, swept=swept, dry_run=request.dry_run
        )

    async def _instances(self, release: OSRelease) -> list[str]:
        if not release.amis:
            return []
        count: int = await steps.in_cloud(
            AmiActivities.count_instances, release.amis, f"count instances of {release.version}"
        )
        return [f"{count} instances were started from its AMIs"] if count else []

    async def _retire(self, release: OSRelease) -> None:
        """By the release's own workflow; where that is closed, here."""
        request = StandRequest(reason="beyond count and age", by=POLICY)
        lifecycle = workflow.get_external_workflow_handle(release.workflow_id)
        try:
            await lifecycle.signal("retire_unused", request)
        except FailureError:
            regions = [ami.region for ami in release.amis]
            drop = DropAmis(workflow_id=release.workflow_id, amis=release.amis, regions=regions)
            if regions:
                await steps.in_cloud(AmiActivities.drop_amis, drop, "take the AMIs away")
            if release.disk is not None:
                forget = OSBuildActivities.forget_disk
                await steps.on_builder(forget, release.disk, "remove the stored disk")
            update = {"state": ReleaseState.RETIRED, "reason": request.reason, "amis": []}
            await steps.book(
                ReleaseActivities.withdraw_release,
                release.model_copy(update=update),
                POLICY,
                summary=f"book {release.version} as retired",
            )

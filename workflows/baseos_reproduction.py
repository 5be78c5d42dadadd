"""``OSReproduction``: build a release again from its lock, and compare the bytes."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.baseos_builds import OSBuildActivities
    from activities.baseos_reports import ReleaseQuestions
    from fleetwide.models.baseos import Target
    from fleetwide.models.os_releases import OSRelease
    from fleetwide.models.os_reports import (
        FaceReproduction,
        RebuiltFace,
        ReproductionReport,
        ReproductionRequest,
    )
    from fleetwide.models.os_steps import LineQuery, LockedRelease, RebuildFace
    from fleetwide.temporal import search_attributes as attributes

from workflows import baseos_steps as steps


@workflow.defn(name="OSReproduction")
class OSReproduction:
    """No mirror is asked: packages come from the pool, as they did the first time."""

    @workflow.run
    async def run(self, request: ReproductionRequest) -> ReproductionReport:
        found: LockedRelease = await steps.book(
            ReleaseQuestions.find_locked,
            LineQuery(name=request.name, pointer=request.pointer),
            summary=f"look up {request.name}:{request.pointer}",
        )
        release = found.release
        self._label(release)
        faces = [
            FaceReproduction(
                target=target, released=digest, rebuilt=await self._rebuild(found, target)
            )
            for target, digest in released(release).items()
        ]
        report = ReproductionReport(
            name=release.name,
            version=release.version,
            lock=found.locked.lock.digest,
            reproduced=all(face.same for face in faces),
            faces=faces,
            checked_at=workflow.now(),
        )
        await steps.book(
            ReleaseQuestions.record_reproduction,
            release,
            report.summary,
            summary="remember what came out",
        )
        workflow.set_current_details(f"**{release.name} {release.version}**: {report.summary}")
        return report

    async def _rebuild(self, found: LockedRelease, target: Target) -> RebuiltFace:
        release = found.release
        rebuilt: RebuiltFace = await steps.on_builder(
            OSBuildActivities.rebuild_face,
            RebuildFace(locked=found.locked, target=target),
            f"build the {target} face of {release.name} {release.version} again",
        )
        return rebuilt

    def _label(self, release: OSRelease) -> None:
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "baseos",
                    attributes.APP: release.name,
                    attributes.OS_RELEASE: f"{release.name}:{release.version}",
                }
            )
        )


def released(release: OSRelease) -> dict[Target, str]:
    """The digests of what the release consists of."""
    layer, disk = release.layer, release.disk
    found = {
        Target.CONTAINER: layer.digest if layer else None,
        Target.VM: disk.digest if disk else None,
    }
    return {target: digest for target, digest in found.items() if digest}

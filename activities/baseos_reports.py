"""Questions about OS releases: what a build would do, which fixes there are, what may go."""

from datetime import UTC, datetime

from temporalio import activity

from activities.baseos_builds import OSBuildActivities
from activities.progress import heartbeat
from fleetwide.baseos.gates import surplus, uses
from fleetwide.baseos.locks import build_key
from fleetwide.baseos.package_diff import package_diff
from fleetwide.baseos.packages import kernel_of
from fleetwide.baseos.plans import make_plan
from fleetwide.baseos.stanzas import source_of
from fleetwide.baseos.suites import filled_in
from fleetwide.baseos.tracker import tracker_findings
from fleetwide.errors import Conflict
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_locks import LockedPackage
from fleetwide.models.os_releases import Channel, LockedPlan, OSRelease
from fleetwide.models.os_reports import FixesReport, PlanPreview, RetentionRequest, TrackerFinding
from fleetwide.models.os_steps import (
    LineQuery,
    LockedRelease,
    PreviewRequest,
    ReviewedRelease,
    SameBuild,
)
from fleetwide.providers.fixes import find_fixes, read_tracker
from fleetwide.providers.newer_packages import newer_packages
from fleetwide.store import channels, events, releases
from fleetwide.store.session import Store


class ReleaseQuestions:
    """Control side: what the books say."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="baseos.latest_release")
    def latest_release(self, query: LineQuery) -> OSRelease | None:
        """The line's newest release; None before its first."""
        with self.store.read() as session:
            row = releases.latest(session, query.name)
            return releases.to_model(session, row) if row else None

    @activity.defn(name="baseos.get_release")
    def get_release(self, query: LineQuery) -> OSRelease:
        """The release that a version, a channel or a digest means.

        Raises:
            NotFound: there is none.
        """
        with self.store.read() as session:
            return releases.to_model(session, releases.resolve(session, query.name, query.pointer))

    @activity.defn(name="baseos.find_locked")
    def find_locked(self, query: LineQuery) -> LockedRelease:
        """The release and what it was built from; also one that is retired or revoked.

        Raises:
            NotFound: there is none.
            Conflict: it never came to anything that could be built again.
        """
        with self.store.read() as session:
            row = releases.find(session, query.name, query.pointer) or releases.resolve(
                session, query.name, query.pointer
            )
            release = releases.to_model(session, row)
            spec = OSImageSpec.model_validate(row.spec)
        if release.lock is None or (release.layer is None and release.disk is None):
            raise Conflict(f"{release.name} {release.version} was not built: it is {release.state}")
        locked = LockedPlan(
            plan=make_plan(spec, release.version, release.workflow_id, release.parent),
            lock=release.lock,
            build_key=release.build_key,
            source_date_epoch=release.source_date_epoch,
        )
        return LockedRelease(release=release, locked=locked)

    @activity.defn(name="baseos.record_reproduction")
    def record_reproduction(self, release: OSRelease, summary: str) -> None:
        """Remember that somebody has built the release again, and what came out."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            message = f"{release.name} {release.version} was built again: {summary}"
            events.append(session, release.workflow_id, "rebuilt", message, at=now)

    @activity.defn(name="baseos.find_same")
    def find_same(self, query: SameBuild) -> str | None:
        """The version of a release that is made of the very same."""
        with self.store.write() as session:
            row = releases.same_build(session, query.name, query.build_key, run_id="")
            return row.version if row else None

    @activity.defn(name="baseos.review_releases")
    def review_releases(self, request: RetentionRequest) -> list[ReviewedRelease]:
        """The releases that the policy lets go, each with what speaks against it."""
        with self.store.read() as session:
            rows = releases.finished(session, request.name)
            models = [releases.to_model(session, row) for row in rows]
            pointed = channels.listing(session, request.name)
            return [
                ReviewedRelease(
                    release=release,
                    reasons=uses(
                        [Channel(c.channel) for c in pointed if c.version == release.version],
                        *releases.users(session, release),
                    ),
                )
                for release in surplus(models, request.retention, datetime.now(UTC))
            ]


class BuilderQuestions:
    """Builder side: what the archives say."""

    def __init__(self, builds: OSBuildActivities) -> None:
        self.builds = builds

    @activity.defn(name="baseos.preview_build", no_thread_cancel_exception=True)
    def preview_build(self, request: PreviewRequest) -> PlanPreview:
        """Resolve the spec as a build would, and compare it with a release. Nothing is built."""
        plan, against = request.plan, request.against
        lock, ref = self.builds.locks.resolve(plan.spec, heartbeat)
        known = against.lock if against else None
        diff = package_diff(self.builds.locks.load(known.digest) if known else [], lock)
        return PlanPreview(
            spec=filled_in(plan.spec, lock.sources, kernel_of(plan.spec)),
            sources=lock.sources,
            lock=ref,
            build_key=build_key(plan, ref.digest, lock.sources),
            package_count=len(lock.packages),
            against=against.version if against else None,
            diff=diff,
            summary=diff.summary,
        )

    @activity.defn(name="baseos.find_fixes", no_thread_cancel_exception=True)
    def find_fixes(self, release: OSRelease) -> FixesReport:
        """Compare the release's packages with the security suite's newest, by their changelogs."""
        installed = self._installed(release)
        found = newer_packages(
            release, installed, self.builds.locks, self.builds.cache.pool, heartbeat
        )
        tracker = self.builds.settings.security_tracker
        findings: list[TrackerFinding] = []
        if tracker is not None:
            heartbeat("reading the security tracker", None)
            entries = read_tracker(tracker, {source_of(one)[0] for one in installed})
            findings = tracker_findings(entries, release.suite, installed)
        return FixesReport(
            name=release.name,
            version=release.version,
            compared_with=found.compared_with,
            checked_at=datetime.now(UTC),
            fixes=find_fixes(found.candidates, heartbeat),
            findings=findings,
            tracker=str(tracker or ""),
        )

    def _installed(self, release: OSRelease) -> list[LockedPackage]:
        if release.lock is None:
            return []
        lock = self.builds.locks.load(release.lock.digest)
        return [one for one in lock.packages if {*one.faces} & {*map(str, release.targets)}]

"""OS releases: claim a version, build the root file system, publish the image, keep the books."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.baseos.plans import make_plan, repository_of
from fleetwide.baseos.versions import next_version
from fleetwide.models.baseos import (
    BuildPlan,
    BuiltImage,
    Channel,
    OSImageSpec,
    OSRelease,
    PublishImage,
    ReleaseState,
    RootFilesystem,
)
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import push_base_image
from fleetwide.providers.mmdebstrap import build_rootfs
from fleetwide.settings import Settings
from fleetwide.store import releases
from fleetwide.store.session import Store


class ReleaseActivities:
    """Control side: needs the database only."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="baseos.reserve_release")
    def reserve_release(self, spec: OSImageSpec) -> BuildPlan:
        """Claim a version of the line for this run, and fill in every default of the spec.

        Raises:
            Conflict: the version is taken.
        """
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        now = datetime.now(UTC)
        with self.store.write() as session:
            mine = releases.of_run(session, info.workflow_id, info.workflow_run_id)
            if mine is not None:
                return make_plan(spec, mine.version, info.workflow_id, mine.created_at)
            version = spec.version or next_version(
                releases.versions(session, spec.name), now.date()
            )
            release = OSRelease(
                name=spec.name,
                version=version,
                workflow_id=info.workflow_id,
                state=ReleaseState.BUILDING,
                distribution=spec.distribution,
                suite=spec.suite,
                architecture=spec.architecture,
                variant=spec.variant,
                packages=spec.packages,
                repository=repository_of(spec.name),
                created_at=now,
            )
            releases.reserve(session, release, spec, info.workflow_run_id, now=now)
        return make_plan(spec, version, info.workflow_id, now)

    @activity.defn(name="baseos.save_release")
    def save_release(self, release: OSRelease) -> None:
        """Write what the build yielded; a candidate takes the candidate channel."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            releases.save(session, release, now=now)
            if release.state is ReleaseState.CANDIDATE:
                releases.point(session, release.name, Channel.CANDIDATE, release.version, now=now)

    @activity.defn(name="baseos.promote_release")
    def promote_release(self, release: OSRelease) -> OSRelease:
        """Let ``stable`` point at the release; the one before it is superseded."""
        now = datetime.now(UTC)
        promoted = release.model_copy(
            update={"state": ReleaseState.STABLE, "promoted_at": release.promoted_at or now}
        )
        with self.store.write() as session:
            name, version = release.name, release.version
            before = releases.point(session, name, Channel.STABLE, version, now=now)
            if before is not None and before != version:
                releases.supersede(session, name, before)
            releases.save(session, promoted, now=now)
        return promoted

    @activity.defn(name="baseos.withdraw_release")
    def withdraw_release(self, release: OSRelease) -> None:
        """Book a build that failed or was cancelled; no channel points at it any more."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            if releases.find(session, release.name, release.version) is not None:
                releases.unpoint(session, release.name, release.version)
                releases.save(session, release, now=now)


class OSBuildActivities:
    """Builder side: needs root on its own machine and the right to push to the registry."""

    def __init__(self, settings: Settings, registry: RegistryClient) -> None:
        self.settings = settings
        self.registry = registry

    @activity.defn(name="baseos.build_rootfs", no_thread_cancel_exception=True)
    def build_rootfs(self, plan: BuildPlan) -> RootFilesystem:
        """Build the root file system and push it as a layer; the work folder is gone afterwards.

        The layer goes straight to the registry, so that the next step can run on any builder.
        """
        workdir = self._workdir()
        try:
            built = build_rootfs(plan, self.settings.apt_mirror, workdir, heartbeat)
            self.registry.upload_blob(
                plan.repository, built.layer_path, built.rootfs.layer.digest, heartbeat
            )
            return built.rootfs
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def _workdir(self) -> Path:
        info = activity.info()
        return self.settings.builder_dir.absolute() / f"os-{info.workflow_run_id}"

    @activity.defn(name="baseos.publish_image", no_thread_cancel_exception=True)
    def publish_image(self, request: PublishImage) -> BuiltImage:
        """Push config and manifest, and tag them with the version."""
        plan = request.plan
        pushed = push_base_image(self.registry, plan, request.layer)
        return BuiltImage(repository=plan.repository, digest=pushed.digest, size=pushed.size)

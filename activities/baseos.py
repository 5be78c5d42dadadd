"""OS releases in the books: versions, what is unchanged, channels, retention. Control side."""

from datetime import UTC, datetime

from sqlmodel import Session
from temporalio import activity

from fleetwide.baseos.amis import check_ami_tags
from fleetwide.baseos.locks import same_wishes
from fleetwide.baseos.plans import make_plan, repository_of
from fleetwide.baseos.suites import check_suite
from fleetwide.baseos.versions import next_version
from fleetwide.errors import Conflict
from fleetwide.models.baseos import BuildPlan, OSImageSpec, RebuildOn
from fleetwide.models.os_releases import (
    BuildOutcome,
    Channel,
    LockedPlan,
    OSRelease,
    ReleaseState,
)
from fleetwide.models.os_steps import Moved, ReleaseMove
from fleetwide.store import channels, releases
from fleetwide.store.channels import Move
from fleetwide.store.session import Store
from fleetwide.store.tables import OSReleaseRow


class ReleaseActivities:
    """Needs the database only."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="baseos.reserve_release")
    def reserve_release(self, spec: OSImageSpec) -> BuildPlan:
        """Claim a version of the line for this run.

        Raises:
            InvalidInput: there is no such suite, or a tag is not one's own to set.
            Conflict: the version is taken.
        """
        check_suite(spec)
        check_ami_tags(spec.ami.tags if spec.ami else {})
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        now = datetime.now(UTC)
        with self.store.write() as session:
            before = releases.latest(session, spec.name)
            parent = before.version if before else None
            mine = releases.of_run(session, info.workflow_id, info.workflow_run_id)
            if mine is not None:
                return make_plan(spec, mine.version, info.workflow_id, parent)
            version = spec.version or next_version(
                releases.versions(session, spec.name), now.date()
            )
            release = OSRelease(
                name=spec.name,
                version=version,
                workflow_id=info.workflow_id,
                state=ReleaseState.BUILDING,
                parent=parent,
                distribution=spec.distribution,
                suite=spec.suite,
                architecture=spec.architecture,
                variant=spec.variant,
                targets=spec.targets,
                packages=spec.packages,
                repository=repository_of(spec.name),
                created_at=now,
            )
            releases.reserve(session, release, spec, info.workflow_run_id, now=now)
        return make_plan(spec, version, info.workflow_id, parent)

    @activity.defn(name="baseos.find_unchanged")
    def find_unchanged(self, locked: LockedPlan) -> OSRelease | None:
        """The release that makes this build needless; None claims the build for this run.

        The claim on the version is given up when there is one.
        """
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        now, plan = datetime.now(UTC), locked.plan
        with self.store.write() as session:
            same = releases.same_build(session, plan.name, locked.build_key, info.workflow_run_id)
            if same is None and plan.spec.rebuild_on is RebuildOn.SECURITY:
                same = _with_same_security(releases.latest(session, plan.name), locked)
            mine = releases.of_run(session, info.workflow_id, info.workflow_run_id)
            if same is None or plan.spec.force:
                releases.set_build_key(session, info.workflow_run_id, locked.build_key)
                return None
            if mine is not None:
                releases.give_up(session, mine, same.version, now=now)
            found = releases.to_model(session, same)
        return found.model_copy(update={"outcome": BuildOutcome.NO_CHANGE})

    @activity.defn(name="baseos.find_release")
    def find_release(self, name: str, version: str) -> OSRelease | None:
        """A release of the line; None when there is none of that version."""
        with self.store.read() as session:
            row = releases.find(session, name, version)
            return releases.to_model(session, row) if row else None

    @activity.defn(name="baseos.save_release")
    def save_release(self, release: OSRelease) -> OSRelease:
        """Write what the build yielded; a candidate takes the candidate channel."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            if release.state is ReleaseState.CANDIDATE and release.candidate_at is None:
                release = release.model_copy(update={"candidate_at": now})
                move = Move(release.name, Channel.CANDIDATE, release.version, reason="built")
                channels.point(session, move, now=now)
            releases.save(session, release, now=now)
        return release

    @activity.defn(name="baseos.let_go")
    def let_go(self, release: OSRelease) -> OSRelease:
        """Book a held release as what it is without the hold, by the channels as they are now."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            previous = channels.get(session, release.name, Channel.PREVIOUS)
            state = ReleaseState.CANDIDATE
            if previous is not None and previous.version == release.version:
                state = ReleaseState.PREVIOUS
            elif release.promoted_at is not None:
                state = ReleaseState.SUPERSEDED
            free = release.model_copy(update={"state": state, "reason": ""})
            releases.save(session, free, now=now)
        return free

    @activity.defn(name="baseos.move_channel")
    def move_channel(self, request: ReleaseMove) -> Moved:
        """Let a channel point at the release, by compare-and-set; done twice it is done once.

        The stable channel leaves ``previous`` at the release it pointed at.

        Raises:
            Conflict: the channel does not point where it was expected to, or at a newer release.
        """
        release, now = request.release, datetime.now(UTC)
        move = Move(
            name=release.name,
            channel=request.channel,
            version=release.version,
            by=request.by,
            reason=request.reason,
            expected=request.expected,
        )
        with self.store.write() as session:
            current = channels.get(session, release.name, request.channel)
            if current is not None and current.version == release.version:
                return self._moved_before(session, release)
            if request.forward_only and current is not None:
                _check_forward(session, release, current.version)
            before = channels.point(session, move, now=now)
            if request.channel is not Channel.STABLE:
                return Moved(release=release)
            superseded = self._supersede(session, move)
            displaced = self._displace(session, move, before, now)
            stable = release.model_copy(
                update={"state": ReleaseState.STABLE, "promoted_at": release.promoted_at or now}
            )
            releases.save(session, stable, now=now)
        return Moved(
            release=stable,
            displaced_workflow_id=displaced.workflow_id if displaced else None,
            displaced_version=displaced.version if displaced else None,
            superseded_workflow_id=superseded.workflow_id if superseded else None,
        )

    def _moved_before(self, session: Session, release: OSRelease) -> Moved:
        """What an earlier try of the same move answered."""
        row = releases.find(session, release.name, release.version)
        assert row is not None
        previous = channels.get(session, release.name, Channel.PREVIOUS)
        other = releases.find(session, release.name, previous.version) if previous else None
        return Moved(
            release=releases.to_model(session, row),
            displaced_workflow_id=other.workflow_id if other else None,
            displaced_version=other.version if other else None,
        )

    def _supersede(self, session: Session, move: Move) -> OSReleaseRow | None:
        """The release that was the previous one, unless it is the one that comes back now."""
        older = channels.get(session, move.name, Channel.PREVIOUS)
        if older is None or older.version == move.version:
            return None
        row = releases.find(session, move.name, older.version)
        # A held one stays held.
        if row is not None and row.state == ReleaseState.PREVIOUS:
            releases.set_state(session, move.name, older.version, ReleaseState.SUPERSEDED)
        return row

    def _displace(
        self, session: Session, move: Move, before: str | None, now: datetime
    ) -> OSReleaseRow | None:
        """The release that was stable becomes the previous one."""
        if before is None:
            return None
        releases.set_state(session, move.name, before, ReleaseState.PREVIOUS)
        again = Move(move.name, Channel.PREVIOUS, before, move.by, move.reason)
        channels.point(session, again, now=now)
        return releases.find(session, move.name, before)

    @activity.defn(name="baseos.withdraw_release")
    def withdraw_release(self, release: OSRelease, by: str) -> None:
        """Book a release that nobody may use any more; no channel points at it afterwards."""
        now = datetime.now(UTC)
        with self.store.write() as session:
            if releases.find(session, release.name, release.version) is not None:
                releases.unpoint(session, release, by, now=now)
                releases.save(session, release, now=now)


def _check_forward(session: Session, release: OSRelease, stable: str) -> None:
    """Refuse to go back to an older release."""
    mine = releases.find(session, release.name, release.version)
    other = releases.find(session, release.name, stable)
    if mine and other and (mine.id or 0) < (other.id or 0):
        raise Conflict(
            f"{release.name} {stable}, which is newer, is stable",
            hint=f"fleetwide os promote {release.name} {release.version}",
        )


def _with_same_security(last: OSReleaseRow | None, locked: LockedPlan) -> OSReleaseRow | None:
    """The last release, when neither the spec nor a security suite's package has changed since."""
    if last is None or not same_wishes(OSImageSpec.model_validate(last.spec), locked.plan.spec):
        return None
    lock = OSRelease.model_validate(last.release).lock
    same = lock is not None and lock.security_digest == locked.lock.security_digest
    return last if same else None

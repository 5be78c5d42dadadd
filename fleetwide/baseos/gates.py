"""What stands between a release and a channel, and between a release and its end."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from fleetwide.models.baseos import OSImageSpec, RetentionSpec, Target
from fleetwide.models.os_releases import Channel, OSRelease, ReleaseState

# Where a release that was built may go from.
PROMOTABLE = frozenset(
    {
        ReleaseState.CANDIDATE,
        ReleaseState.STABLE,
        ReleaseState.PREVIOUS,
        ReleaseState.SUPERSEDED,
    }
)


def soak_ends(spec: OSImageSpec, release: OSRelease) -> datetime | None:
    """When the release has been a candidate for long enough."""
    if release.candidate_at is None:
        return None
    return release.candidate_at + timedelta(hours=spec.promotion.soak_hours)


def obstacles(
    spec: OSImageSpec, release: OSRelease | None, now: datetime, *, emergency: bool
) -> list[str]:
    """Why the release cannot become stable now, one sentence each; empty when it can."""
    if release is None:
        return ["it is still being built"]
    if release.state not in PROMOTABLE:
        because = f": {release.reason}" if release.reason else ""
        return [f"it is {release.state}{because}"]
    found = [f"its static checks for {t} failed" for t, r in release.static.items() if not r.passed]
    if (
        Target.VM in release.targets
        and spec.tests.boot
        and not (release.boot and release.boot.passed)
    ):
        found.append("it has not passed its boot test")
    ends = soak_ends(spec, release)
    was_stable = release.promoted_at is not None
    if ends is not None and now < ends and not emergency and not was_stable:
        hours = (ends - now).total_seconds() / 3600
        found.append(
            f"its soak ends in {hours:.1f} hours, at {ends:%Y-%m-%d %H:%M} UTC (emergency skips it)"
        )
    return found


def surplus(releases: Sequence[OSRelease], policy: RetentionSpec, now: datetime) -> list[OSRelease]:
    """What the policy lets go of ``releases``, newest first: beyond its count and its age."""
    oldest = now - timedelta(days=policy.max_age_days)
    return [release for release in releases[policy.keep :] if release.created_at < oldest]


def uses(channels: Sequence[Channel], images: int, jobs: int) -> list[str]:
    """Why a release is in use, one sentence each."""
    found = [f"channel {channel} points at it" for channel in channels]
    counted = ((images, "baked images stand on it"), (jobs, "jobs run on it"))
    return found + [f"{count} {words}" for count, words in counted if count]

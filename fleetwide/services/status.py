"""What is told of a service: counts, what it waits for, when to look at it again."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from fleetwide.models.base import Waiting
from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployState
from fleetwide.models.service_documents import (
    WAIT_TEXT,
    RevisionCount,
    ServiceStatus,
    ServiceWait,
)
from fleetwide.models.services import DeployPolicy
from fleetwide.services.deploy_waits import wake_at
from fleetwide.services.reconcile import Steps

# Of what a deploy waits for, that which is not told better by the copies themselves.
_HELD = frozenset({"deployPaused", "waitingPromotion", "canaryWatched", "oldKept"})


def counted(
    copies: Sequence[Copy], want: Mapping[int, int], now: datetime, seconds: float
) -> list[RevisionCount]:
    """The copies by revision, and how many of each are wanted."""
    revisions = {one.membership.revision for one in copies if one.lives} | {
        number for number, count in want.items() if count
    }
    return [
        RevisionCount(
            revision=number,
            live=sum(one.lives for one in _of(copies, number)),
            ready=sum(one.ready(now, seconds) for one in _of(copies, number)),
            wanted=want.get(number, 0),
        )
        for number in sorted(revisions)
    ]


def _of(copies: Iterable[Copy], revision: int) -> list[Copy]:
    return [one for one in copies if one.membership.revision == revision]


def waits_for(
    status: ServiceStatus,
    steps: Steps,
    deploy: Waiting | None,
    no_host: Sequence[str],
    before: Waiting | None,
) -> Waiting | None:
    """What keeps a service from being as it is wanted, the most telling thing first.

    Args:
        status: the counts.
        steps: what was decided.
        deploy: what the deploy waits for, if there is one.
        no_host: why copies have no host, for each that has none.
        before: what was told last: a wait that goes on keeps the time of its begin.
    """
    desired = status.capacity.desired
    ready = f"{status.ready} of {desired} copies are ready"
    if deploy is not None and deploy.code in _HELD:
        return deploy
    if no_host:
        wait, more = ServiceWait.NO_HOST, f"{len(no_host)} of {desired}: {no_host[0]}"
    elif steps.backing_off:
        wait, more = ServiceWait.BACKING_OFF, f"{steps.backing_off} of {desired}"
    elif deploy is not None:
        return deploy
    elif status.ready < desired:
        wait, more = ServiceWait.NOT_READY, ready
    elif status.stopping:
        wait, more = ServiceWait.STOPPING, f"{status.stopping} are left"
    else:
        return None
    since = before.since if before is not None and before.code == wait else status.looked_at
    assert since is not None
    return Waiting(
        code=wait,
        sentence=f"{WAIT_TEXT[wait]}: {more}",
        numbers={
            "desired": desired,
            "ready": status.ready,
            "live": status.live,
            "stopping": status.stopping,
            "backingOff": steps.backing_off,
        },
        since=since,
    )


def again_at(
    copies: Sequence[Copy],
    deploy: DeployState,
    policy: DeployPolicy,
    steps: Steps,
    now: datetime,
) -> datetime | None:
    """When to look again though nobody has told of a change; None: only now and then."""
    moments = [steps.again_at, wake_at(deploy, policy, copies, now)]
    pause = timedelta(seconds=policy.healthy_seconds)
    moments += [
        one.healthy_since + pause
        for one in copies
        if one.lives and one.healthy_since and not one.ready(now, policy.healthy_seconds)
    ]
    return min((one for one in moments if one is not None), default=None)


def _size(status: ServiceStatus) -> str:
    capacity = status.capacity
    bounds = f"{capacity.min} to {capacity.max}"
    return f"{status.ready} of {capacity.desired} copies ready ({bounds})"


def service_details(status: ServiceStatus) -> str:
    """Markdown for the workflow's current details."""
    lines = [
        f"**{status.state}**: {_size(status)}, revision {status.revision}",
    ]
    lines += [
        f"- revision {one.revision}: {one.ready} ready of {one.live} live, {one.wanted} wanted"
        for one in status.by_revision
    ]
    if status.deploy is not None:
        deploy = status.deploy
        why = f": {deploy.reason}" if deploy.reason else ""
        lines.append(f"- deploy {deploy.number} is {deploy.phase}{why}")
    if status.waiting is not None:
        lines.append(status.waiting.markdown())
    lines.append(f"- everything: `fleetwide service show {status.service_id}`")
    return "\n".join(lines)

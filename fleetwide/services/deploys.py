"""Deploys, one look at a time: what became of the new version, and how many copies each has now.

``advance`` is given everything and remembers nothing but the state that it returns, so it may be
asked again at any time: the same picture gives the same answer. What people do to a deploy is in
``deploy_moves``.
"""

from collections.abc import Sequence
from datetime import datetime

from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.services import DeployPolicy
from fleetwide.services.blame import heard
from fleetwide.services.deploy_ends import fault, rolled_back, settled, succeeded
from fleetwide.services.deploy_steps import bounded_share, next_step, shares_of
from fleetwide.services.shares import View, limits_of, view_of

MOVES = frozenset({DeployPhase.RUNNING, DeployPhase.WAITING_PROMOTION, DeployPhase.ROLLING_BACK})


def begin(
    number: int, to: int, policy: DeployPolicy, now: datetime, before: DeployState | None = None
) -> DeployState:
    """A deploy of a version, which takes the place of the one before, if that still goes on.

    It would go back to the last version that a deploy brought to its end, not to one on its way.
    """
    return DeployState(
        number=number,
        from_revision=None if before is None else before.last_good,
        to_revision=to,
        strategy=policy.strategy,
        started_at=now,
        progress_at=now,
    )


def advance(
    state: DeployState,
    policy: DeployPolicy,
    desired: int,
    copies: Sequence[Copy],
    ended: Sequence[Copy],
    now: datetime,
) -> tuple[DeployState, dict[int, int]]:
    """Where the deploy is now, and how many copies each version shall have now.

    Args:
        state: what the last look returned, or ``begin``.
        policy: the one of the newest version; its strategy counts from the next deploy on.
        desired: how many copies there shall be in all.
        copies: all that are not over.
        ended: those that ended since the last look; told twice, they are counted once.
        now: the workflow's time.

    Returns:
        The state, and by revision the copies that shall live and are not leaving. Leaving ones come
        on top and were allowed for. Of those that have to stop, the ones that are not ready go
        first; a version that is not named has no copies.
    """
    policy = policy.model_copy(update={"strategy": state.strategy})
    view = view_of(limits_of(policy, desired), copies, now, policy.healthy_seconds)
    state = _progress(heard(state, copies, ended, now), policy, view)
    # A step may be over as soon as it is reached, such as one of no copies.
    for _ in range(len(policy.canary) + len(DeployPhase)):
        after = _moved(state, policy, view)
        if after == state:
            break
        # Copies that are unhealthy when a step begins to be watched count in it.
        state = _progress(heard(after, copies, (), now), policy, view)
    shares = shares_of(state, policy, view)
    return _with_share(state, shares), shares


def _moved(state: DeployState, policy: DeployPolicy, view: View) -> DeployState:
    if state.phase not in MOVES:
        return state
    why = fault(state, policy, view)
    if why is not None:
        return settled(state, policy, why, view.now)
    if state.phase is DeployPhase.ROLLING_BACK:
        return rolled_back(state, view)
    if state.phase is DeployPhase.RUNNING:
        return succeeded(next_step(state, policy, view), policy, view)
    return state


def _progress(state: DeployState, policy: DeployPolicy, view: View) -> DeployState:
    """Note steps forward, and since when copies have been missing without one."""
    goal = view.of(state.goes_to)
    ready = min(goal.ready, view.limits.desired)
    changed = state.desired != view.limits.desired
    peak = min(state.peak, view.limits.desired)
    forward = ready > peak
    lacking = ready < bounded_share(state, policy, view)
    since = state.lacks_since
    if not lacking:
        since = None
    # A host that does not answer yet may do so again: the version is not to blame.
    elif since is None or forward or changed or goal.silent:
        since = view.now
    return state.model_copy(
        update={
            "desired": view.limits.desired,
            "peak": max(peak, ready),
            "progress_at": view.now if forward else state.progress_at,
            "lacks_since": since,
        }
    )


def _with_share(state: DeployState, shares: dict[int, int]) -> DeployState:
    if state.phase not in MOVES:
        return state
    return state.model_copy(update={"share": shares.get(state.to_revision, 0)})

"""The three strategies: how far the new version may come now, and when it takes a further step."""

from datetime import timedelta

from fleetwide.models.deploys import DeployPhase, DeployState, Tally
from fleetwide.models.services import DeployPolicy, Strategy
from fleetwide.services.judging import judge
from fleetwide.services.shares import Roll, View, beside, rolled, share_of

_STOPPED = frozenset({DeployPhase.PAUSED, DeployPhase.FAILED, DeployPhase.ABORTED})


def serves(state: DeployState, revision: int) -> bool:
    """Whether load balancers may send requests to this version's copies.

    Always, but of blue/green: there one version at a time does, the new one from the switch on.
    """
    if state.strategy is not Strategy.BLUE_GREEN or not state.can_go_back:
        return True
    if state.phase is DeployPhase.SUCCEEDED:
        return True
    if state.back_since is not None:
        return revision == state.from_revision
    return (revision == state.to_revision) == (state.switched_at is not None)


def bounded_share(state: DeployState, policy: DeployPolicy, view: View) -> int:
    """The most copies that the version which ``state.goes_to`` may have now."""
    desired = view.limits.desired
    if not _has_old(state):
        return desired
    if state.phase in _STOPPED:
        return min(state.share, desired)
    if state.strategy is Strategy.CANARY and not state.promoted and policy.canary:
        step = policy.canary[min(state.step, len(policy.canary) - 1)]
        return share_of(step.percent, desired)
    return desired


def shares_of(state: DeployState, policy: DeployPolicy, view: View) -> dict[int, int]:
    """How many copies each version shall have now."""
    share = bounded_share(state, policy, view)
    if _is_beside(state):
        return beside(view, state.to_revision, state.from_revision, share)
    base = state.from_revision if _has_old(state) else None
    return rolled(view, Roll(state.goes_to, share, base, state.peak))


def next_step(state: DeployState, policy: DeployPolicy, view: View) -> DeployState:
    """The state after what is due by now; the same where nothing is."""
    if state.promoted or not state.can_go_back:
        return state
    match state.strategy:
        case Strategy.CANARY:
            return _canary(state, policy, view)
        case Strategy.BLUE_GREEN:
            return _blue_green(state, policy, view)
        case Strategy.ROLLING:
            return state


def _has_old(state: DeployState) -> bool:
    """Whether copies of the last good version have a place beside those of the new one."""
    going_on = state.phase is not DeployPhase.SUCCEEDED and state.back_since is None
    return state.can_go_back and going_on


def _is_beside(state: DeployState) -> bool:
    return state.strategy is Strategy.BLUE_GREEN and _has_old(state) and not state.promoted


def _canary(state: DeployState, policy: DeployPolicy, view: View) -> DeployState:
    """Wait for the step's copies, watch them for a while, judge them."""
    if state.step >= len(policy.canary) or not view.limits.desired:
        return _promoted(state)
    step, ready = policy.canary[state.step], view.of(state.to_revision).ready
    enough = ready >= share_of(step.percent, view.limits.desired)
    if state.step_since is None:
        return _watched(state, view) if enough else state
    if view.now - state.step_since < timedelta(seconds=step.hold_seconds):
        return state
    return _judged(state, policy, view, enough=enough)


def _watched(state: DeployState, view: View) -> DeployState:
    return state.model_copy(
        update={"step_since": view.now, "new": Tally(), "old": Tally(), "watched": {}}
    )


def _judged(state: DeployState, policy: DeployPolicy, view: View, *, enough: bool) -> DeployState:
    """A bad verdict counts at once, a good one when all of the step's copies are ready."""
    since = state.step_since or view.now
    new = state.new.model_copy(update={"copies": view.of(state.to_revision).live})
    old = state.old.model_copy(update={"copies": view.others(state.to_revision).live})
    seconds = (view.now - since).total_seconds()
    verdict = judge(state.step, new, old, policy.judgement, seconds)
    if verdict.good and not enough:
        return state
    state = state.model_copy(update={"verdicts": [*state.verdicts, verdict]})
    if not verdict.good:
        return state
    if state.step + 1 < len(policy.canary):
        return state.model_copy(update={"step": state.step + 1, "step_since": None})
    if policy.auto_promote:
        return _promoted(state)
    return _waits_for_promotion(state, verdict.sentence)


def _blue_green(state: DeployState, policy: DeployPolicy, view: View) -> DeployState:
    """Switch when all of the new version are ready, and keep the old ones for a while."""
    desired = view.limits.desired
    if state.switched_at is not None:
        kept = timedelta(seconds=policy.keep_old_seconds)
        return _promoted(state) if view.now - state.switched_at >= kept else state
    if view.of(state.to_revision).ready < desired:
        return state
    if policy.auto_promote:
        return state.model_copy(update={"switched_at": view.now})
    return _waits_for_promotion(state, f"all {desired} copies of the new version are ready")


def _promoted(state: DeployState) -> DeployState:
    return state.model_copy(update={"promoted": True, "step_since": None})


def _waits_for_promotion(state: DeployState, reason: str) -> DeployState:
    return state.model_copy(
        update={
            "phase": DeployPhase.WAITING_PROMOTION,
            "step_since": None,
            "reason": reason,
        }
    )

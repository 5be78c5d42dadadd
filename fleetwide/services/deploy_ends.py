"""How deploys end: well, given up where they stood, or back at the last good version."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetwide.models.deploys import DeployPhase, DeployState, FailedCopy
from fleetwide.models.services import DeployPolicy, Strategy
from fleetwide.models.task_states import END_TEXT
from fleetwide.services.blame import HOPELESS
from fleetwide.services.deploy_steps import bounded_share
from fleetwide.services.shares import View


@dataclass(frozen=True)
class Fault:
    """Why a deploy, or its way back, is given up."""

    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)


def fault(state: DeployState, policy: DeployPolicy, view: View) -> Fault | None:
    """What is wrong by now, if anything. On the way back only the progress deadline counts."""
    if state.phase is not DeployPhase.ROLLING_BACK:
        found = _unrunnable(state) or _too_many(state, policy) or _judged_bad(state)
        if found is not None:
            return found
    if state.phase is DeployPhase.WAITING_PROMOTION:
        return None
    return _stalled(state, policy, view)


def settled(state: DeployState, policy: DeployPolicy, why: Fault, now: datetime) -> DeployState:
    """The state after a fault: on the way back where there is one, else failed."""
    if state.phase is DeployPhase.ROLLING_BACK:
        sentence = f"{state.reason}; the way back did not come to its end: {why.sentence}"
        return _over(state, DeployPhase.FAILED, sentence, now, {**state.numbers, **why.numbers})
    if not state.can_go_back:
        return _over(state, DeployPhase.FAILED, _stays(state, why), now, why.numbers)
    if not policy.auto_rollback:
        sentence = f"{why.sentence}; auto_rollback is off: it stays where it is"
        return _over(state, DeployPhase.FAILED, sentence, now, why.numbers)
    return going_back(state, why.sentence, now).model_copy(update={"numbers": why.numbers})


def going_back(state: DeployState, why: str, now: datetime) -> DeployState:
    """On the way to the last good version; its copies have the whole deadline again."""
    return state.model_copy(
        update={
            "phase": DeployPhase.ROLLING_BACK,
            "reason": f"{why}; going back to revision {state.from_revision}",
            "back_since": now,
            "progress_at": now,
            "lacks_since": None,
            "step_since": None,
            "finished_at": None,
            "peak": 0,
        }
    )


def rolled_back(state: DeployState, view: View) -> DeployState:
    """Over, once all copies are of the last good version and ready."""
    if not _has_all(state, view):
        return state
    return _over(state, DeployPhase.ROLLED_BACK, state.reason, view.now, state.numbers)


def succeeded(state: DeployState, policy: DeployPolicy, view: View) -> DeployState:
    """Over, once all copies are of the new version and ready, and nothing is waited for."""
    whole = bounded_share(state, policy, view) >= view.limits.desired
    waits = state.strategy is not Strategy.ROLLING and state.can_go_back
    if not whole or (waits and not state.promoted) or not _has_all(state, view):
        return state
    ready = view.of(state.to_revision).ready
    seconds = (view.now - state.started_at).total_seconds()
    sentence = f"all {ready} copies run revision {state.to_revision} after {seconds:.0f} s"
    numbers = {"ready": ready, "seconds": seconds}
    return _over(state, DeployPhase.SUCCEEDED, sentence, view.now, numbers)


def _has_all(state: DeployState, view: View) -> bool:
    goal = view.of(state.goes_to)
    return goal.ready >= view.limits.desired and not view.others(state.goes_to).live


def _over(
    state: DeployState,
    phase: DeployPhase,
    reason: str,
    now: datetime,
    numbers: dict[str, float],
) -> DeployState:
    return state.model_copy(
        update={
            "phase": phase,
            "reason": reason,
            "numbers": numbers,
            "finished_at": now,
            "step_since": None,
        }
    )


def _stays(state: DeployState, why: Fault) -> str:
    if state.from_revision is None:
        return f"{why.sentence}; there is no earlier good version to go back to"
    return f"{why.sentence}; it is the last good version itself: there is none to go back to"


def _unrunnable(state: DeployState) -> Fault | None:
    for failed in state.failures:
        if failed.reason in HOPELESS:
            return Fault(f"no host can run it: {_told(failed)}", {"failed": state.failed})
    return None


def _too_many(state: DeployState, policy: DeployPolicy) -> Fault | None:
    if state.failed < policy.max_failed_copies or not state.failures:
        return None
    allowed = policy.max_failed_copies
    return Fault(
        f"{state.failed} copies of revision {state.to_revision} have failed, {allowed} are enough "
        f"to give it up; the last one: {_told(state.failures[-1])}",
        {"failed": state.failed, "maxFailedCopies": allowed},
    )


def _judged_bad(state: DeployState) -> Fault | None:
    if not state.verdicts or state.verdicts[-1].good:
        return None
    verdict = state.verdicts[-1]
    return Fault(
        f"step {verdict.step + 1} of the canary was judged bad: {verdict.sentence}",
        {
            "newRate": verdict.new.rate,
            "oldRate": verdict.old.rate,
            "allowedRate": verdict.allowed_rate,
        },
    )


def _stalled(state: DeployState, policy: DeployPolicy, view: View) -> Fault | None:
    deadline = policy.progress_deadline_seconds
    since = state.lacks_since
    if since is None or view.now - since < timedelta(seconds=deadline):
        return None
    goal, wanted = view.of(state.goes_to), bounded_share(state, policy, view)
    return Fault(
        f"no further copy of revision {state.goes_to} got ready for {deadline:g} s: "
        f"{goal.ready} of {wanted} are, {goal.live - goal.ready} more live",
        {"ready": goal.ready, "wanted": wanted, "live": goal.live, "deadlineSeconds": deadline},
    )


def _told(failed: FailedCopy) -> str:
    where = f" on {failed.host_id}" if failed.host_id else ""
    return f"{failed.task_id}{where}: {failed.message or END_TEXT[failed.reason]}"

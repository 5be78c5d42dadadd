"""What people do to a deploy. Each raises ``Conflict`` when its phase does not allow it."""

from collections.abc import Collection
from datetime import datetime

from fleetwide.errors import Conflict
from fleetwide.models.deploys import PHASE_TEXT, DeployPhase, DeployState
from fleetwide.models.services import Strategy
from fleetwide.services.deploy_ends import going_back

_GOING_ON = frozenset({DeployPhase.RUNNING, DeployPhase.PAUSED, DeployPhase.WAITING_PROMOTION})
_GIVEN_UP = frozenset({DeployPhase.FAILED, DeployPhase.ABORTED})


def pause(state: DeployState, reason: str) -> DeployState:
    """Each version keeps its share, and what is lost is replaced by the same version."""
    _check(state, "paused", {DeployPhase.RUNNING})
    return state.model_copy(update={"phase": DeployPhase.PAUSED, "reason": reason})


def resume(state: DeployState, reason: str) -> DeployState:
    """Go on. A canary's step is watched anew, and the progress deadline begins again."""
    _check(state, "resumed", {DeployPhase.PAUSED})
    return _running(state, reason)


def promote(state: DeployState, now: datetime, reason: str) -> DeployState:
    """Let the new version have everything: skip what is left of a canary, or switch blue/green.

    After the switch of blue/green it ends the time for which the old copies are kept.
    """
    _check(state, "promoted", {DeployPhase.RUNNING, DeployPhase.WAITING_PROMOTION})
    if state.strategy is Strategy.ROLLING or not state.can_go_back or state.promoted:
        raise _refused(state, "promoted", "nothing of it waits for a promotion")
    if state.strategy is Strategy.CANARY or state.switched_at is not None:
        return _running(state, reason).model_copy(update={"promoted": True})
    if state.phase is not DeployPhase.WAITING_PROMOTION and state.peak < (state.desired or 0):
        ready = f"{state.peak} of {state.desired} copies of the new version are ready"
        raise _refused(state, "promoted", f"{ready}: it can switch when all are")
    return _running(state, reason).model_copy(update={"switched_at": now})


def abort(state: DeployState, now: datetime, reason: str) -> DeployState:
    """Give it up where it stands: each version keeps its share until something else is done."""
    _check(state, "aborted", _GOING_ON)
    return state.model_copy(
        update={
            "phase": DeployPhase.ABORTED,
            "reason": reason,
            "finished_at": now,
            "step_since": None,
        }
    )


def rollback(state: DeployState, now: datetime, reason: str) -> DeployState:
    """Go back to the last good version, also after it was given up, or from a stalled way back."""
    _check(state, "rolled back", _GOING_ON | _GIVEN_UP)
    if not state.can_go_back:
        raise _refused(state, "rolled back", "there is no other good version to go back to")
    return going_back(state, reason, now)


def superseded(state: DeployState, by: int, now: datetime) -> DeployState:
    """What is kept of a deploy when another takes its place; the same if it was over."""
    if state.over:
        return state
    return state.model_copy(
        update={
            "phase": DeployPhase.ABORTED,
            "reason": f"deploy {by} took its place while it was {state.phase}",
            "finished_at": now,
            "step_since": None,
        }
    )


def _running(state: DeployState, reason: str) -> DeployState:
    return state.model_copy(
        update={
            "phase": DeployPhase.RUNNING,
            "reason": reason,
            "step_since": None,
            "lacks_since": None,
        }
    )


def _check(state: DeployState, done: str, phases: Collection[DeployPhase]) -> None:
    if state.phase not in phases:
        raise _refused(state, done, PHASE_TEXT[state.phase])


def _refused(state: DeployState, done: str, why: str) -> Conflict:
    return Conflict(
        f"deploy {state.number} is {state.phase} and cannot be {done}: {why}",
        hint=_HINTS.get(state.phase, "fleetwide service show SERVICE tells what it does"),
    )


_HINTS: dict[DeployPhase, str] = {
    DeployPhase.PAUSED: "fleetwide service resume SERVICE lets it go on",
    DeployPhase.SUCCEEDED: "fleetwide service rollback SERVICE --to REVISION deploys an older one",
    DeployPhase.ROLLING_BACK: "deploy the version that you want: it takes the place of this one",
}

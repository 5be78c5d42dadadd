"""What a deploy waits for, and when it has to be looked at though nothing has changed."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from fleetwide.models.base import Waiting
from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.services import DeployPolicy, Strategy
from fleetwide.models.task_states import TaskState
from fleetwide.services.deploy_steps import bounded_share
from fleetwide.services.shares import View, limits_of, view_of

_TIMED = frozenset({DeployPhase.RUNNING, DeployPhase.ROLLING_BACK})


def wake_at(
    state: DeployState, policy: DeployPolicy, copies: Sequence[Copy], now: datetime
) -> datetime | None:
    """When the next look is due by time alone: a copy counts as ready, a hold or a deadline ends.

    None when only a change of a copy, or a person, can lead any further.
    """
    if state.over:
        return None
    times = [*_ready_times(policy, copies)]
    if state.phase in _TIMED:
        times += _phase_times(state, policy)
    return min((time for time in times if time > now), default=None)


def waiting(
    state: DeployState, policy: DeployPolicy, desired: int, copies: Sequence[Copy], now: datetime
) -> Waiting | None:
    """Why the deploy does not go on this moment; None when it is over."""
    policy = policy.model_copy(update={"strategy": state.strategy})
    view = view_of(limits_of(policy, desired), copies, now, policy.healthy_seconds)
    match state.phase:
        case DeployPhase.PAUSED:
            return _told(state, "deployPaused", f"deploy {state.number} is paused: {state.reason}")
        case DeployPhase.WAITING_PROMOTION:
            return _told(state, "waitingPromotion", f"it has to be promoted: {state.reason}")
        case DeployPhase.RUNNING | DeployPhase.ROLLING_BACK:
            return _held(state, policy) or _on_its_way(state, policy, view)
        case _:
            return None


def _ready_times(policy: DeployPolicy, copies: Sequence[Copy]) -> Iterator[datetime]:
    for copy in copies:
        if copy.state is TaskState.STARTED and copy.healthy_since is not None:
            yield copy.healthy_since + timedelta(seconds=policy.healthy_seconds)


def _phase_times(state: DeployState, policy: DeployPolicy) -> Iterator[datetime]:
    if state.lacks_since is not None:
        yield state.lacks_since + timedelta(seconds=policy.progress_deadline_seconds)
    if state.step_since is not None and state.step < len(policy.canary):
        yield state.step_since + timedelta(seconds=policy.canary[state.step].hold_seconds)
    if state.switched_at is not None:
        yield state.switched_at + timedelta(seconds=policy.keep_old_seconds)


def _held(state: DeployState, policy: DeployPolicy) -> Waiting | None:
    """A canary that is watched, or old copies that are kept: nothing is missing."""
    if state.step_since is not None and state.step < len(policy.canary):
        step = policy.canary[state.step]
        return Waiting(
            code="canaryWatched",
            sentence=f"step {state.step + 1} of {len(policy.canary)} of the canary, "
            f"{step.percent:g} % of the copies, is watched for {step.hold_seconds:g} s",
            numbers={"percent": step.percent, "holdSeconds": step.hold_seconds},
            since=state.step_since,
        )
    blue_green = state.strategy is Strategy.BLUE_GREEN and state.back_since is None
    if blue_green and state.switched_at is not None and not state.promoted:
        return Waiting(
            code="oldKept",
            sentence=f"revision {state.to_revision} has the traffic; for a way back at once "
            f"revision {state.from_revision} is kept for {policy.keep_old_seconds:g} s",
            numbers={"keepOldSeconds": policy.keep_old_seconds},
            since=state.switched_at,
        )
    return None


def _on_its_way(state: DeployState, policy: DeployPolicy, view: View) -> Waiting:
    goal, wanted = view.of(state.goes_to), bounded_share(state, policy, view)
    old = view.others(state.goes_to)
    numbers = {
        "ready": goal.ready,
        "wanted": wanted,
        "live": goal.live,
        "others": old.live,
        "failed": state.failed,
    }
    return Waiting(
        code="copiesNotReady" if goal.ready < wanted else "oldCopiesLive",
        sentence=f"{goal.ready} of {wanted} copies of revision {state.goes_to} are ready, "
        f"{goal.live - goal.ready} more live; {old.live} of other versions live; "
        f"{state.failed} have failed",
        numbers={name: float(number) for name, number in numbers.items()},
        since=state.lacks_since or state.progress_at,
    )


def _told(state: DeployState, code: str, sentence: str) -> Waiting:
    return Waiting(code=code, sentence=sentence, numbers=state.numbers, since=state.progress_at)

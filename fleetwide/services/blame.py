"""Which ends of copies speak against the version they ran, and which are the platform's own."""

from collections.abc import Sequence
from datetime import datetime

from fleetwide.models.copies import Copy
from fleetwide.models.deploys import MAX_FAILURES_TOLD, DeployState, FailedCopy
from fleetwide.models.health import HealthStatus
from fleetwide.models.task_states import RETRY_BUDGET, EndReason, RetryBudget, TaskState

# A copy of a service has no end of its own, so a normal one is a fault, too.
ALWAYS = frozenset(
    {EndReason.NORMAL, EndReason.INVALID_REQUEST}
    | {reason for reason, budget in RETRY_BUDGET.items() if budget is RetryBudget.USER}
)
HOPELESS = frozenset({EndReason.INVALID_REQUEST})
"""No host can run it, such as an image that is not there: one copy is enough to know."""
_PLATFORMS = frozenset({RetryBudget.SYSTEM, RetryBudget.EVICTION, RetryBudget.PREEMPTION})


def blamed(reason: EndReason, *, has_started: bool) -> bool:
    """Whether an end speaks against its version.

    One that no host could pull the image for does until a copy of the version has been started
    somewhere: after that it is the host's fault.
    """
    return reason in ALWAYS or (reason is EndReason.IMAGE_PULL_FAILED and not has_started)


def heard(
    state: DeployState, copies: Sequence[Copy], ended: Sequence[Copy], now: datetime
) -> DeployState:
    """What the ends and the health of copies say of the versions, each of them counted once.

    The first look finds what earlier deploys have left, perhaps of the same version: not counted.
    """
    state = _started(state, [*copies, *ended])
    if state.desired is None:
        return _left_by_others(state, [*copies, *ended])
    for copy in sorted(ended, key=_order):
        state = _heard_end(state, copy, now)
    for copy in sorted(copies, key=_order):
        if copy.state is TaskState.STARTED and copy.health is HealthStatus.UNHEALTHY:
            state = _heard_unhealthy(state, copy)
    return state


def _order(copy: Copy) -> tuple[int, int]:
    return copy.membership.index, copy.membership.incarnation


def _left_by_others(state: DeployState, copies: Sequence[Copy]) -> DeployState:
    known = {
        copy.membership.index: copy.membership.incarnation for copy in sorted(copies, key=_order)
    }
    return state.model_copy(update={"heard": known})


def _started(state: DeployState, copies: Sequence[Copy]) -> DeployState:
    started = any(
        copy.started_at is not None and copy.membership.revision == state.to_revision
        for copy in copies
    )
    if state.has_started or not started:
        return state
    return state.model_copy(update={"has_started": True})


def _heard_end(state: DeployState, copy: Copy, now: datetime) -> DeployState:
    if not _is_news(state.heard, copy):
        return state
    reason = copy.reason or EndReason.PLATFORM_FAULT
    if blamed(reason, has_started=state.has_started):
        state = _failed(_in_step(state, copy, ended=True), copy, reason)
    lost = RETRY_BUDGET[reason] in _PLATFORMS and copy.started_at is not None
    if lost and state.lacks_since is not None and copy.membership.revision == state.goes_to:
        # The version is given the time again that the platform took from it.
        state = state.model_copy(update={"lacks_since": now})
    return state.model_copy(update={"heard": _noted(state.heard, copy)})


def _heard_unhealthy(state: DeployState, copy: Copy) -> DeployState:
    """Against the deploy once, in place of its end; in each step that it is seen in, too."""
    state = _in_step(state, copy, ended=False)
    if copy.membership.revision != state.to_revision or not _is_news(state.heard, copy):
        return state
    state = _failed(state, copy, EndReason.UNHEALTHY)
    return state.model_copy(update={"heard": _noted(state.heard, copy)})


def _in_step(state: DeployState, copy: Copy, *, ended: bool) -> DeployState:
    """Count a copy in the step of the canary that is being watched, if any."""
    if state.step_since is None or not _is_news(state.watched, copy):
        return state
    side = "new" if copy.membership.revision == state.to_revision else "old"
    tally = state.new if side == "new" else state.old
    kind = "ends" if ended else "unhealthy"
    after = tally.model_copy(update={kind: getattr(tally, kind) + 1})
    return state.model_copy(update={side: after, "watched": _noted(state.watched, copy)})


def _failed(state: DeployState, copy: Copy, reason: EndReason) -> DeployState:
    """Count a copy of the new version against the deploy."""
    if copy.membership.revision != state.to_revision:
        return state
    failed = FailedCopy(
        task_id=copy.membership.task_id,
        index=copy.membership.index,
        incarnation=copy.membership.incarnation,
        host_id=copy.host_id,
        reason=reason,
        message=copy.message,
    )
    failures = [*state.failures, failed][-MAX_FAILURES_TOLD:]
    return state.model_copy(update={"failed": state.failed + 1, "failures": failures})


def _is_news(known: dict[int, int], copy: Copy) -> bool:
    return known.get(copy.membership.index, -1) < copy.membership.incarnation


def _noted(known: dict[int, int], copy: Copy) -> dict[int, int]:
    return {**known, copy.membership.index: copy.membership.incarnation}

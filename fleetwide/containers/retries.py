"""Whether a failed attempt is followed by another, who pays for it, and how long it waits."""

from dataclasses import dataclass
from datetime import datetime

from fleetwide.models.containers import AttemptResult
from fleetwide.models.retries import Lineage, RetryPolicy, RetryShape, Spent
from fleetwide.models.task_states import END_TRAITS, RETRY_BUDGET, EndReason, RetryBudget

SYSTEM_RETRIES = 5
"""In a row; one that ran for ``LONG_RUN_SECONDS`` starts the row anew."""
SYSTEM_DELAY_SECONDS = 1.0
SYSTEM_MAX_DELAY_SECONDS = 30.0
LONG_RUN_SECONDS = 300.0


@dataclass(frozen=True)
class Retry:
    """Another attempt: after this many seconds, with these counters."""

    delay_seconds: float
    spent: Spent

    def lineage(self, follows: int) -> Lineage:
        """What the next attempt keeps of its past; ``follows`` is the number of the last one."""
        return Lineage(follows=follows, spent=self.spent, delay_seconds=self.delay_seconds)


def retry_after(result: AttemptResult, policy: RetryPolicy, spent: Spent) -> Retry | None:
    """The retry that follows an attempt that ended like this, or None for the end."""
    ran = _ran_seconds(result.started_at, result.finished_at)
    return next_attempt(result.reason, policy, spent, result.exit_code, ran)


def hosts_to_avoid(result: AttemptResult) -> list[str]:
    """The host that failed it; none after a failure of the user's own."""
    fault = END_TRAITS[result.reason].hosts_fault
    return [result.host_id] if result.host_id and fault else []


def next_attempt(
    reason: EndReason,
    policy: RetryPolicy,
    spent: Spent,
    exit_code: int | None = None,
    ran_seconds: float = 0.0,
) -> Retry | None:
    """The retry that follows an attempt that ended for ``reason``, or None for the end."""
    if ran_seconds >= LONG_RUN_SECONDS:
        spent = spent.model_copy(update={"system_in_a_row": 0})
    if _is_users(reason, policy):
        return _users_retry(reason, policy, spent, exit_code)
    match RETRY_BUDGET[reason]:
        case RetryBudget.SYSTEM:
            return _system_retry(spent)
        case RetryBudget.EVICTION:
            return Retry(0.0, spent.model_copy(update={"eviction": spent.eviction + 1}))
        case RetryBudget.PREEMPTION:
            return Retry(0.0, spent.model_copy(update={"preemption": spent.preemption + 1}))
        case _:
            return None


def _users_retry(
    reason: EndReason, policy: RetryPolicy, spent: Spent, exit_code: int | None
) -> Retry | None:
    if spent.user >= policy.retries or not _wanted(reason, policy, exit_code):
        return None
    return Retry(_delay(policy, spent.user), spent.model_copy(update={"user": spent.user + 1}))


def _system_retry(spent: Spent) -> Retry | None:
    row = spent.system_in_a_row
    if row >= SYSTEM_RETRIES:
        return None
    counted = {"system": spent.system + 1, "system_in_a_row": row + 1}
    delay = min(SYSTEM_DELAY_SECONDS * 2.0**row, SYSTEM_MAX_DELAY_SECONDS)
    return Retry(delay, spent.model_copy(update=counted))


def _ran_seconds(started: datetime | None, finished: datetime | None) -> float:
    return (finished - started).total_seconds() if started and finished else 0.0


def _is_users(reason: EndReason, policy: RetryPolicy) -> bool:
    if reason is EndReason.RUNTIME_LIMIT_EXCEEDED:
        return policy.on_runtime_limit
    return RETRY_BUDGET[reason] is RetryBudget.USER


def _wanted(reason: EndReason, policy: RetryPolicy, exit_code: int | None) -> bool:
    """Whether the policy's conditions let this end be tried again."""
    if reason is EndReason.RUNTIME_LIMIT_EXCEEDED:
        return True
    if policy.on_reasons is not None and reason not in policy.on_reasons:
        return False
    if policy.on_exit_codes is not None and exit_code not in policy.on_exit_codes:
        return False
    return exit_code not in policy.not_on_exit_codes


def _delay(policy: RetryPolicy, retries: int) -> float:
    match policy.shape:
        case RetryShape.IMMEDIATE:
            return 0.0
        case RetryShape.DELAYED:
            return min(policy.delay_seconds, policy.max_delay_seconds)
        case RetryShape.EXPONENTIAL:
            return min(policy.delay_seconds * 2.0**retries, policy.max_delay_seconds)

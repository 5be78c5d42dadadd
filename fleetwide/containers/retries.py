"""Whether a failed attempt is followed by another, who pays for it, and how long it waits."""

from dataclasses import dataclass, replace

from fleetwide.models.containers import RETRY_BUDGET, EndReason, RetryBudget, RetryPolicy

SYSTEM_RETRIES = 5
SYSTEM_DELAY_SECONDS = 1.0
SYSTEM_MAX_DELAY_SECONDS = 30.0


@dataclass(frozen=True)
class Spent:
    """Retries used so far; the platform's own faults are counted apart from the user's."""

    user: int = 0
    system: int = 0


@dataclass(frozen=True)
class Retry:
    """Another attempt: after this many seconds, with these counters."""

    delay_seconds: float
    spent: Spent


def next_attempt(reason: EndReason, policy: RetryPolicy, spent: Spent) -> Retry | None:
    """The retry that follows an attempt that ended for ``reason``, or None for the end."""
    budget = RETRY_BUDGET[reason]
    if budget is RetryBudget.USER and spent.user < policy.retries:
        delay = min(policy.delay_seconds * 2.0**spent.user, policy.max_delay_seconds)
        return Retry(delay, replace(spent, user=spent.user + 1))
    if budget is RetryBudget.SYSTEM and spent.system < SYSTEM_RETRIES:
        delay = min(SYSTEM_DELAY_SECONDS * 2.0**spent.system, SYSTEM_MAX_DELAY_SECONDS)
        return Retry(delay, replace(spent, system=spent.system + 1))
    return None

"""Retries: budgets are never exceeded, and the platform's faults never use up the user's."""

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.retries import (
    SYSTEM_MAX_DELAY_SECONDS,
    SYSTEM_RETRIES,
    Spent,
    next_attempt,
)
from fleetwide.models.containers import RETRY_BUDGET, EndReason, RetryBudget, RetryPolicy

POLICIES = st.builds(
    RetryPolicy,
    retries=st.integers(0, 8),
    delay_seconds=st.floats(0, 100),
    max_delay_seconds=st.floats(0, 100),
)


@given(POLICIES, st.lists(st.sampled_from(EndReason), max_size=40))
def test_a_run_of_ends_never_exceeds_a_budget(policy: RetryPolicy, ends: list[EndReason]) -> None:
    spent = Spent()
    for reason in ends:
        retry = next_attempt(reason, policy, spent)
        if retry is None:
            break
        before, spent = spent, retry.spent
        assert spent.user <= policy.retries
        assert spent.system <= SYSTEM_RETRIES
        assert 0 <= retry.delay_seconds <= max(policy.max_delay_seconds, SYSTEM_MAX_DELAY_SECONDS)
        if RETRY_BUDGET[reason] is RetryBudget.SYSTEM:
            assert spent.user == before.user
        else:
            assert spent.system == before.system


@given(POLICIES, st.integers(0, 100), st.integers(0, 100))
def test_an_end_that_nobody_pays_for_is_final(policy: RetryPolicy, user: int, system: int) -> None:
    for reason, budget in RETRY_BUDGET.items():
        if budget is RetryBudget.NONE:
            assert next_attempt(reason, policy, Spent(user, system)) is None

"""Retries: budgets are never exceeded, and the platform's faults never use up the user's."""

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.retries import (
    LONG_RUN_SECONDS,
    SYSTEM_MAX_DELAY_SECONDS,
    SYSTEM_RETRIES,
    hosts_to_avoid,
    next_attempt,
)
from fleetwide.models.containers import AttemptKey, AttemptResult
from fleetwide.models.evictions import EVICTIONS
from fleetwide.models.retries import RetryPolicy, RetryShape, Spent
from fleetwide.models.task_states import END_TRAITS, RETRY_BUDGET, EndReason, RetryBudget

POLICIES = st.builds(
    RetryPolicy,
    retries=st.integers(0, 8),
    delay_seconds=st.floats(0, 100),
    max_delay_seconds=st.floats(0, 100),
)


COUNTERS = {
    RetryBudget.USER: "user",
    RetryBudget.SYSTEM: "system",
    RetryBudget.EVICTION: "eviction",
    RetryBudget.PREEMPTION: "preemption",
}
RUNS = st.sampled_from([0.0, LONG_RUN_SECONDS - 1, LONG_RUN_SECONDS])


@given(POLICIES, st.lists(st.tuples(st.sampled_from(EndReason), RUNS), max_size=40))
def test_a_run_of_ends_never_exceeds_a_budget(
    policy: RetryPolicy, ends: list[tuple[EndReason, float]]
) -> None:
    spent, row = Spent(), 0
    for reason, ran in ends:
        retry = next_attempt(reason, policy, spent, ran_seconds=ran)
        if retry is None:
            break
        before, spent = spent, retry.spent
        assert spent.user <= policy.retries
        row = 0 if ran >= LONG_RUN_SECONDS else row
        row += RETRY_BUDGET[reason] is RetryBudget.SYSTEM
        assert spent.system_in_a_row == row <= SYSTEM_RETRIES
        assert 0 <= retry.delay_seconds <= max(policy.max_delay_seconds, SYSTEM_MAX_DELAY_SECONDS)
        raised = {
            name for name in COUNTERS.values() if getattr(spent, name) != getattr(before, name)
        }
        assert raised == {COUNTERS[RETRY_BUDGET[reason]]}
        assert sum(getattr(spent, name) - getattr(before, name) for name in raised) == 1


def test_the_systems_back_off_starts_anew_after_a_long_run() -> None:
    worn = Spent(system=9, system_in_a_row=SYSTEM_RETRIES)
    assert next_attempt(EndReason.LOST, RetryPolicy(), worn) is None
    retry = next_attempt(EndReason.LOST, RetryPolicy(), worn, ran_seconds=LONG_RUN_SECONDS)
    assert retry is not None
    assert (retry.delay_seconds, retry.spent) == (1.0, Spent(system=10, system_in_a_row=1))


def test_an_eviction_is_tried_again_at_once_and_without_end() -> None:
    spent = Spent(eviction=1000, preemption=1000)
    for reason in EVICTIONS:
        retry = next_attempt(reason, RetryPolicy(), spent)
        assert retry is not None
        assert retry.delay_seconds == 0


@given(st.sampled_from(EndReason))
def test_another_host_is_sought_after_a_fault_of_the_hosts_alone(reason: EndReason) -> None:
    key = AttemptKey(workflow_id="task/x", run_id="r")
    result = AttemptResult(key=key, host_id="h1", reason=reason, message="")
    fault = RETRY_BUDGET[reason] is RetryBudget.SYSTEM and END_TRAITS[reason].hosts_fault
    assert hosts_to_avoid(result) == (["h1"] if fault else [])


@given(POLICIES, st.integers(0, 100), st.integers(0, 100))
def test_an_end_that_nobody_pays_for_is_final(policy: RetryPolicy, user: int, system: int) -> None:
    for reason, budget in RETRY_BUDGET.items():
        if budget is RetryBudget.NONE:
            assert next_attempt(reason, policy, Spent(user=user, system=system)) is None


@given(st.integers(0, 7), st.floats(0, 100), st.floats(0, 100))
def test_shapes_of_the_wait(retries: int, delay: float, most: float) -> None:
    def wait(shape: RetryShape) -> float:
        policy = RetryPolicy(retries=8, shape=shape, delay_seconds=delay, max_delay_seconds=most)
        retry = next_attempt(EndReason.FAILED, policy, Spent(user=retries), 1)
        assert retry is not None
        return retry.delay_seconds

    assert wait(RetryShape.IMMEDIATE) == 0
    assert wait(RetryShape.DELAYED) == min(delay, most)
    assert wait(RetryShape.EXPONENTIAL) == min(delay * 2**retries, most)


@given(st.integers(1, 255), st.sets(st.integers(1, 255)), st.sets(st.integers(1, 255)))
def test_exit_codes_decide(code: int, wanted: set[int], unwanted: set[int]) -> None:
    policy = RetryPolicy(
        retries=1, on_exit_codes=sorted(wanted), not_on_exit_codes=sorted(unwanted)
    )
    retry = next_attempt(EndReason.FAILED, policy, Spent(), code)
    assert (retry is not None) == (code in wanted and code not in unwanted)


@given(
    st.sampled_from(EndReason), st.sets(st.sampled_from([EndReason.FAILED, EndReason.OOM_KILLED]))
)
def test_reasons_decide_over_the_users_retries_alone(
    reason: EndReason, wanted: set[EndReason]
) -> None:
    policy = RetryPolicy(retries=1, on_reasons=sorted(wanted))
    retry = next_attempt(reason, policy, Spent(), 1)
    platforms = RETRY_BUDGET[reason] not in (RetryBudget.USER, RetryBudget.NONE)
    expected = reason in wanted or platforms
    assert (retry is not None) == expected


def test_the_runtime_limit_is_final_unless_the_policy_says_so() -> None:
    limit = EndReason.RUNTIME_LIMIT_EXCEEDED
    assert next_attempt(limit, RetryPolicy(retries=1), Spent()) is None
    again = next_attempt(limit, RetryPolicy(retries=1, on_runtime_limit=True), Spent())
    assert again is not None
    assert again.spent == Spent(user=1)

"""An attempt's states: never backwards, nothing left out, Disconnected beside them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.transitions import ALWAYS_PASSED, ORDER, steps
from fleetwide.models.task_states import TaskState

UPDATES = st.lists(st.tuples(st.sampled_from(TaskState), st.booleans()), max_size=30)


def walk(updates: list[tuple[TaskState, bool]]) -> list[tuple[TaskState, bool]]:
    """All states that are entered, in order, with whether each was filled in."""
    state, left = TaskState.ACCEPTED, None
    entered = [(state, False)]
    for to, ran in updates:
        way = steps(state, left, to, ran=ran)
        if not way:
            continue
        entered += [(step.state, step.filled_in) for step in way]
        left = state if to is TaskState.DISCONNECTED else None
        state = to
    return entered


@given(UPDATES)
def test_updates_in_any_order_never_go_backwards(updates: list[tuple[TaskState, bool]]) -> None:
    entered = [state for state, _ in walk(updates)]
    forward = [ORDER.index(state) for state in entered if state is not TaskState.DISCONNECTED]
    back = [before for before, state in pairwise(forward) if state < before]
    assert back == []
    for at, state in enumerate(entered):
        again = entered.index(state) < at
        returned = at > 0 and entered[at - 1] is TaskState.DISCONNECTED
        assert not again or state is TaskState.DISCONNECTED or returned
    assert TaskState.FINISHED not in entered[:-1]


@given(UPDATES)
def test_what_was_skipped_is_filled_in(updates: list[tuple[TaskState, bool]]) -> None:
    entered = walk(updates)
    states = {state for state, _ in entered}
    for state in (TaskState.START_INITIATED, TaskState.STARTED):
        if state in states:
            assert set(ORDER[: ORDER.index(state)]) <= states
    assert {state for state, filled in entered if filled} <= ALWAYS_PASSED


@given(UPDATES)
def test_what_is_filled_in_is_followed_by_what_was_told(
    updates: list[tuple[TaskState, bool]],
) -> None:
    entered = walk(updates)
    told = [state for state, filled in entered if not filled]
    assert not entered[-1][1]
    assert told[0] is TaskState.ACCEPTED


@given(st.sampled_from([*ORDER[1:5]]))
def test_a_disconnected_attempt_comes_back_to_the_state_that_it_left(left: TaskState) -> None:
    away = steps(left, None, TaskState.DISCONNECTED)
    assert away is not None
    back = steps(TaskState.DISCONNECTED, left, left)
    assert [step.state for step in (*away, *(back or ()))] == [TaskState.DISCONNECTED, left]
    earlier = ORDER[ORDER.index(left) - 1]
    assert steps(TaskState.DISCONNECTED, left, earlier) is None


def test_an_attempt_that_ran_has_started_and_one_that_did_not_has_not() -> None:
    ran = steps(TaskState.LAUNCHED, None, TaskState.FINISHED, ran=True)
    assert [step.state for step in ran or ()] == [*ORDER[2:4], TaskState.FINISHED]
    lost = steps(TaskState.LAUNCHED, None, TaskState.FINISHED)
    assert [step.state for step in lost or ()] == [TaskState.FINISHED]

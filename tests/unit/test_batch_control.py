"""What people ask of a batch job: indexes as they write them, sets of ranges, limits that fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.batch.array import Array
from fleetwide.batch.dependencies import MET, Verdict, judge
from fleetwide.batch.outcome import child_env
from fleetwide.batch.ranges import Ranges
from fleetwide.models.batch import BatchJobSpec, ChildState
from fleetwide.models.batch_control import CancelChildren
from fleetwide.models.batch_dependencies import Condition, DependencyState
from fleetwide.models.batch_states import BatchState

CONTAINER = {"image": "apps/x:1", "resources": {"cpu": 1, "memory": "64MiB"}}
RANGE = st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(RANGE, max_size=12), st.integers(0, 45))
def test_ranges_are_the_set_of_their_indexes(parts: list[tuple[int, int]], start: int) -> None:
    ranges, known = Ranges(), set[int]()
    for low, high in parts:
        new = set(range(low, high + 1)) - known
        assert ranges.add(low, high) == len(new)
        known |= new
    assert {index for index in range(60) if index in ranges} == known
    assert ranges.count_from(start) == len([index for index in known if index >= start])
    assert ranges.beyond(start) == next(i for i in range(start, 99) if i not in known)
    gaps = zip(ranges.parts, ranges.parts[1:], strict=False)
    assert all(before[1] + 1 < after[0] for before, after in gaps)


def test_indexes_are_read_as_people_write_them() -> None:
    asked = {"indexes": [3, "7", "10-19", [20, 21]], "reason": "x"}
    assert CancelChildren.model_validate(asked).indexes == [(3, 3), (7, 7), (10, 19), (20, 21)]


@pytest.mark.parametrize(
    "wrong", ["", "x", "5-3", "-1", "1-100000", "1,2", True, [3, 1], [-1, 2], []]
)
def test_other_indexes_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        CancelChildren.model_validate({"indexes": [wrong], "reason": "x"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 3, "success_quorum": 4}, "success_quorum is 4, but size is 3"),
        (
            {"start_after": "2026-01-02T00:00:00Z", "deadline": "2026-01-01T00:00:00Z"},
            "is not after start_after",
        ),
    ],
)
def test_what_can_never_be_met_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BatchJobSpec.model_validate({"app": "x", "container": CONTAINER, **given})


def test_a_job_is_hopeless_when_its_quorum_is_out_of_reach() -> None:
    array = Array(size=10, quorum=8)
    array.ended = {ChildState.FAILED: 2}
    assert not array.hopeless
    array.drop([(9, 9)])
    assert array.hopeless


def test_dropping_most_of_a_large_array_costs_one_range() -> None:
    array = Array(size=100_000)
    assert array.drop([(10, 99_999)]) == (99_990, [])
    assert len(array.model_dump_json()) < 1000
    assert [each.index for each in array.wanted(100)] == list(range(10))
    assert array.fresh_from == 100_000


def test_children_find_their_index_by_the_names_of_other_systems() -> None:
    env = child_env("j", 5, 3, 1)
    assert env["AWS_BATCH_JOB_ARRAY_INDEX"] == env["JOB_COMPLETION_INDEX"] == "3"


def test_every_condition_says_what_meets_it() -> None:
    assert set(MET) == set(Condition)


@given(st.lists(st.tuples(st.sampled_from(Condition), st.sampled_from(BatchState)), max_size=5))
def test_a_job_begins_when_all_others_have_ended_as_wanted(
    given_states: list[tuple[Condition, BatchState]],
) -> None:
    others = [
        DependencyState(job=f"j{n}", condition=condition, state=state)
        for n, (condition, state) in enumerate(given_states)
    ]
    verdict = judge(others)
    met = [each.state in MET[each.condition] for each in others]
    wrong = [each.state is not BatchState.RUNNING for each in others]
    impossible = any(w and not m for w, m in zip(wrong, met, strict=True))
    assert bool(verdict.never) == impossible
    assert (verdict == Verdict()) == all(met)

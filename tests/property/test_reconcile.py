"""Which copies are started and stopped, whatever happened to them before."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.models.copies import Copy
from fleetwide.models.membership import Membership
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.reconcile import (
    MOST_DELAY_SECONDS,
    Goal,
    Vacancy,
    delay_seconds,
    next_streak,
    reconcile,
    scale_down,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIVE = [
    TaskState.ACCEPTED,
    TaskState.LAUNCHED,
    TaskState.START_INITIATED,
    TaskState.STARTED,
    TaskState.DISCONNECTED,
]
STATES = [*LIVE, TaskState.KILL_INITIATED]


def copy(index: int, state: TaskState, *, revision: int = 1, **more: object) -> Copy:
    member = Membership(service_id="web", index=index, revision=revision, incarnation=1)
    started = state is TaskState.STARTED
    values = {
        "accepted_at": NOW - timedelta(seconds=100 - index),
        "healthy_since": NOW - timedelta(seconds=60) if started else None,
        **more,
    }
    return Copy.model_validate({"membership": member, "state": state, **values})


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Goal, list[Copy], list[Vacancy]]:
    desired = draw(st.integers(0, 6))
    surge = draw(st.integers(0, 3))
    new = draw(st.integers(0, desired))
    indices = draw(st.lists(st.integers(0, 9), unique=True, max_size=8))
    copies = [
        copy(
            index,
            draw(st.sampled_from(STATES)),
            revision=draw(st.integers(1, 2)),
            host_id=draw(st.sampled_from(["a", "b", "c"])),
            leaving=draw(st.booleans()),
        )
        for index in indices
    ]
    vacant = [
        Vacancy(index, draw(st.integers(1, 2)), NOW + timedelta(seconds=draw(st.integers(-9, 9))))
        for index in draw(st.lists(st.integers(0, 9), unique=True, max_size=4))
        if index not in indices
    ]
    goal = Goal({1: desired - new, 2: new}, 2, desired, surge, replace_silent=draw(st.booleans()))
    return goal, copies, vacant


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_never_too_many_live_and_no_two_have_one_index(
    world: tuple[Goal, list[Copy], list[Vacancy]],
) -> None:
    goal, copies, vacant = world
    steps = reconcile(goal, copies, vacant, NOW)
    stopped = {one.task_id for one in steps.stops}
    live = [
        one
        for one in copies
        if one.lives
        and one.membership.task_id not in stopped
        and not (goal.replace_silent and one.state is TaskState.DISCONNECTED)
    ]
    if steps.starts:
        assert len(live) + len(steps.starts) <= goal.desired + goal.surge
    indices = [one.index for one in steps.starts]
    assert len(set(indices)) == len(indices)
    assert not set(indices) & {one.membership.index for one in copies}
    waiting = {one.index for one in vacant if one.not_before > NOW}
    assert not set(indices) & waiting
    for revision, wanted in goal.want.items():
        staying = [one for one in live if not one.leaving and one.membership.revision == revision]
        assert len(staying) + sum(s.revision == revision for s in steps.starts) <= wanted
    assert reconcile(goal, copies, vacant, NOW) == steps


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_it_comes_to_rest_with_what_is_wanted(
    world: tuple[Goal, list[Copy], list[Vacancy]],
) -> None:
    """Every start becomes a ready copy, every stop an end: after some looks nothing is left."""
    goal, copies, vacant = world
    copies = [one for one in copies if one.state is not TaskState.DISCONNECTED]
    now = NOW
    for _ in range(30):
        steps = reconcile(goal, copies, vacant, now)
        stopped = {one.task_id for one in steps.stops}
        copies = [
            one.model_copy(update={"state": TaskState.STARTED, "healthy_since": NOW})
            for one in copies
            if one.membership.task_id not in stopped and one.lives
        ]
        copies += [
            copy(one.index, TaskState.STARTED, revision=one.revision) for one in steps.starts
        ]
        used = {one.index for one in steps.starts}
        vacant = [one for one in vacant if one.index not in used]
        now += timedelta(seconds=10)
    steps = reconcile(goal, copies, vacant, now)
    assert not steps.starts
    by_revision = [one.membership.revision for one in copies if not one.leaving]
    if goal.surge or not any(one.leaving for one in copies):
        assert {number: by_revision.count(number) for number in (1, 2)} == dict(goal.want)


def test_copies_are_given_up_from_the_least_far_to_the_oldest_of_the_fullest_place() -> None:
    copies = [
        copy(0, TaskState.STARTED, host_id="a", zone="z1"),
        copy(1, TaskState.STARTED, host_id="a", zone="z1"),
        copy(2, TaskState.STARTED, host_id="b", zone="z2"),
        copy(3, TaskState.START_INITIATED, host_id="b"),
        copy(4, TaskState.LAUNCHED, host_id="b"),
        copy(5, TaskState.ACCEPTED),
        copy(6, TaskState.DISCONNECTED, host_id="c"),
        copy(7, TaskState.STARTED, host_id="d", zone="z3", healthy_since=None),
    ]
    order = [one.membership.index for one in scale_down(copies, 8, NOW)]
    assert order == [6, 5, 4, 3, 7, 0, 1, 2]


def test_a_bad_copy_waits_longer_each_time_and_a_good_one_starts_anew() -> None:
    streak, delays = 0, []
    for _ in range(8):
        streak = next_streak(streak, EndReason.FAILED, ran_seconds=2)
        delays.append(delay_seconds(streak))
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(delays) == MOST_DELAY_SECONDS
    assert next_streak(streak, EndReason.FAILED, ran_seconds=301) == 0
    for asked in (EndReason.KILLED, EndReason.SCALED_DOWN, EndReason.HOST_DRAINING):
        assert next_streak(streak, asked, ran_seconds=2) == 0
    assert delay_seconds(0) == 0

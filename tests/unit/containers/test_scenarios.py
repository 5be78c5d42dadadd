"""Scenarios: what a simulated container does, and when."""

from math import inf

import pytest

from fleetwide.containers.scenarios import Course, Scenario, Span, parse_scenario

BORN, STARTED = 100.0, 101.0


def course(script: str, *, stopped_at: float | None = None, grace: float = 10.0) -> Course:
    return Course("fw-x", parse_scenario(script), grace, BORN, STARTED, stopped_at)


def test_a_scenario_says_what_happens() -> None:
    assert parse_scenario("pull=2s run=1.5m exit=3 log=7 term=500ms") == Scenario(
        pull=Span(2, 2), run=Span(90, 90), exit_code=3, lines=7, term=Span(0.5, 0.5)
    )


def test_of_two_words_for_one_thing_the_later_one_counts() -> None:
    assert parse_scenario("run=1s exit=1 run=2s exit=0") == Scenario(run=Span(2, 2))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rum=2s", "'rum=2s' is no part of a scenario; there are pull, "),
        ("run=quickly", "a length of time is a number"),
        ("run=-1s", "a length of time is a number"),
        ("run=9s..2s", "the first of a range is the smaller one"),
        ("pull=forever", "a length of time is a number"),
        ("exit=256", "a whole number from 0 to 255"),
        ("log=many", "a whole number from 0 to 10000"),
        ("deaf=yes", "takes no value"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_word(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as told:
        parse_scenario(f"exit=1 {text}")
    assert repr(text) in str(told.value)


def test_a_range_gives_each_container_a_time_of_its_own_and_always_the_same() -> None:
    span = Span(2, 10)
    drawn = {span.of(f"fw-{number}") for number in range(200)}
    assert len(drawn) == 200
    assert min(drawn) >= 2
    assert max(drawn) <= 10
    assert max(drawn) - min(drawn) > 6
    assert span.of("fw-1") == span.of("fw-1")


def test_it_runs_for_its_time_and_ends_with_its_code() -> None:
    ran = course("run=5s exit=3")
    assert [ran.status(STARTED + second) for second in (0, 4.9, 5)] == [
        "running",
        "running",
        "exited",
    ]
    assert (ran.ends_at, ran.exit_code, ran.oom_killed) == (STARTED + 5, 3, False)


def test_one_that_was_never_started_is_created_and_never_ends() -> None:
    made = Course("fw-x", Scenario(), 10, BORN)
    assert (made.status(BORN + 1e6), made.ends_at, made.log(BORN + 1e6)) == ("created", inf, b"")


@pytest.mark.parametrize(
    ("script", "code", "oom", "after"),
    [
        ("oom=2s", 137, True, 2),
        ("run=3s oom", 137, True, 3),
        ("crash-after=1s", 139, False, 1),
    ],
)
def test_ends_that_nobody_wished(script: str, code: int, oom: bool, after: float) -> None:
    ran = course(script)
    assert (ran.exit_code, ran.oom_killed, ran.ends_at) == (code, oom, STARTED + after)


@pytest.mark.parametrize(
    ("script", "code", "after"),
    [
        ("run=forever", 143, 0),
        ("run=forever term=2s", 143, 2),
        ("run=forever term=60s", 137, 10),
        ("run=forever deaf", 137, 10),
        ("run=8s deaf exit=4", 4, 3),
    ],
)
def test_a_stop_is_heeded_or_enforced(script: str, code: int, after: float) -> None:
    stopped = course(script, stopped_at=STARTED + 5)
    assert (stopped.exit_code, stopped.ends_at) == (code, STARTED + 5 + after)


def test_lines_are_spread_over_the_run_and_end_with_it() -> None:
    ran = course("run=6s log=3")
    assert [ran.log(STARTED + second).count(b"\n") for second in (0, 1.9, 2, 4, 60)] == [
        1,
        1,
        2,
        3,
        3,
    ]
    assert ran.log(STARTED + 60).splitlines()[-1] == b"fw-x: line 3 of 3"
    cut = course("run=6s log=3", stopped_at=STARTED + 3)
    assert cut.log(STARTED + 60).count(b"\n") == 2

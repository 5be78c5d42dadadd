"""Scaling decides alike whatever the figures: it settles, never flaps, and never guesses."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.models.metrics import MinuteFigures, Sample
from fleetwide.models.scaling import HoldCode, LastAction, ScalingPolicy
from fleetwide.services.scaling import Decision, Hold, decide
from fleetwide.services.scaling_verdicts import Scalable

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TURN = 15.0
WINDOW = 120.0
FEW = settings(max_examples=30, deadline=None)
_TRACKING = {
    "target": 0.5,
    "scale_out_cooldown_seconds": 30,
    "scale_in_cooldown_seconds": WINDOW,
    "scale_in_window_seconds": WINDOW,
}


def policy(name: str = "cpu", metric: str = "cpu", **more: Any) -> ScalingPolicy:
    given: dict[str, Any] = {"name": name, "metric": metric, "period_seconds": 30}
    if "step_scaling" not in more:
        given["target_tracking"] = {**_TRACKING, **more.pop("tracking", {})}
    return ScalingPolicy.model_validate(given | more)


def steps(comparison: str, threshold: float, *steps: dict[str, Any], **more: Any) -> ScalingPolicy:
    alarm = {"comparison": comparison, "threshold": threshold, **more.pop("alarm", {})}
    scaling = {"alarm": alarm, "steps": list(steps), "cooldown_seconds": 60, **more}
    return policy("steps", "queueDepth", step_scaling=scaling)


class World:
    """A service under load: its copies share it, and new ones tell nothing at first."""

    def __init__(self, policies: list[ScalingPolicy], desired: int, start_seconds: float) -> None:
        self.policies = policies
        self.desired = desired
        self.started = [NOW - timedelta(days=1)] * desired
        self.start = timedelta(seconds=start_seconds)
        self.now = NOW
        self.samples: list[Sample] = []
        self.actions: list[LastAction] = []
        self.most = desired

    def turn(self, load: float, metric: str = "cpu") -> Decision | Hold:
        self.now += timedelta(seconds=TURN)
        oldest = self.now - timedelta(seconds=WINDOW + 60)
        self.samples = [one for one in self.samples if one.at > oldest]
        ready = [i for i, at in enumerate(self.started) if at + self.start <= self.now]
        for index in ready:
            self.samples.append(Sample(metric, f"s.{index}.1", load / len(ready), self.now))
        live = frozenset(f"s.{index}.1" for index in range(self.desired))
        service = Scalable(self.desired, 1, 1000, live=live)
        found = decide(self.policies, service, self.samples, self.actions, self.now)
        if isinstance(found, Decision):
            self._resize(found)
        return found

    def _resize(self, found: Decision) -> None:
        self.actions.append(
            LastAction(policy=found.policy, at=self.now, before=self.desired, after=found.desired)
        )
        more = found.desired - len(self.started)
        self.started = self.started[: found.desired] + [self.now] * more
        self.desired = found.desired
        self.most = max(self.most, self.desired)


@FEW
@given(
    load=st.floats(0.01, 15),
    desired=st.integers(1, 30),
    start_seconds=st.sampled_from([0.0, 20.0, 70.0]),
)
def test_a_steady_load_settles_without_flapping(
    load: float, desired: int, start_seconds: float
) -> None:
    world = World([policy()], desired, start_seconds)
    for _ in range(30):
        world.turn(load)
    needed = max(1, math.ceil(load / 0.5 - 1e-9))
    assert len(world.actions) <= 1
    assert world.most <= max(desired, needed)
    assert 0.9 - 1e-6 <= load / world.desired / 0.5 <= 1.1 + 1e-6 or world.desired == needed


@FEW
@given(st.lists(st.floats(0.91, 1.09), min_size=10, max_size=30), st.integers(1, 20))
def test_a_load_that_swings_within_the_tolerance_changes_nothing(
    swings: list[float], desired: int
) -> None:
    world = World([policy()], desired, 0)
    for swing in swings:
        held = world.turn(desired * 0.5 * swing)
        assert isinstance(held, Hold)
        assert held.code is HoldCode.ON_TARGET


@FEW
@given(st.integers(2, 30), st.integers(1, 3))
def test_a_load_with_regular_peaks_keeps_the_copies_of_the_peak(peak: int, pause: int) -> None:
    world = World([policy()], peak, 0)
    for turn in range(40):
        world.turn(peak * 0.5 if turn % (pause + 4) < 4 else 0.05)
    assert world.actions == []


@FEW
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(-100, 4000),
            st.sampled_from(["", "s.0.1", "s.1.1"]),
        ),
        max_size=30,
    ),
    st.integers(0, 20),
    st.integers(0, 5),
    st.booleans(),
)
def test_whatever_it_is_fed_it_stays_within_the_limits(
    fed: list[tuple[float, float, str]], desired: int, least: int, enabled: bool
) -> None:
    samples = [Sample("cpu", task, v, NOW - timedelta(seconds=age)) for v, age, task in fed]
    service = Scalable(max(desired, least), least, 20, enabled=enabled)
    found = decide([policy()], service, samples, [], NOW)
    if isinstance(found, Decision):
        assert enabled
        assert service.min <= found.desired <= service.max
        assert found.desired != service.desired
    assert all(math.isfinite(number) for number in found.numbers.values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_no_numbers_are_no_samples(value: float) -> None:
    held = decide([policy()], Scalable(3, 1, 9), [Sample("cpu", "s.0.1", value, NOW)], [], NOW)
    assert isinstance(held, Hold)
    assert (held.code, held.sentence) == (
        HoldCode.NO_SAMPLES,
        "cpu: there are no samples of cpu but 1 that are no numbers from 0 on",
    )


def test_stale_samples_are_told_with_their_age() -> None:
    old = Sample("cpu", "s.0.1", 9.0, NOW - timedelta(seconds=100))
    held = decide([policy()], Scalable(3, 1, 9), [old], [], NOW)
    assert isinstance(held, Hold)
    assert held.code is HoldCode.STALE_SAMPLES
    assert held.numbers["ageSeconds"] == 100


def _filled(metric: str, value: float, task: str = "") -> list[Sample]:
    return [Sample(metric, task, value, NOW - timedelta(seconds=age)) for age in range(0, 200, 10)]


def test_the_policy_that_wants_most_wins_out_and_in_needs_all() -> None:
    queue = policy("queue", "queueDepth", tracking={"target": 10})
    busy = _filled("cpu", 0.8, "s.0.1") + _filled("queueDepth", 95)
    service = Scalable(1, 1, 50)
    grown = decide([policy(), queue], service, busy, [], NOW)
    assert isinstance(grown, Decision)
    assert (grown.policy, grown.desired) == ("queue", 10)

    service = Scalable(10, 1, 50)
    torn = [*(s for i in range(10) for s in _filled("cpu", 0.5, f"s.{i}.1"))]
    held = decide([policy(), queue], service, torn + _filled("queueDepth", 5), [], NOW)
    assert isinstance(held, Hold)
    assert held.code is HoldCode.NOT_AGREED
    blind = decide([policy(), queue], service, _filled("queueDepth", 5), [], NOW)
    assert isinstance(blind, Hold)
    assert "no samples of cpu" in blind.sentence

    calm = [*(s for i in range(10) for s in _filled("cpu", 0.1, f"s.{i}.1"))]
    shrunk = decide([policy(), queue], service, calm + _filled("queueDepth", 35), [], NOW)
    assert isinstance(shrunk, Decision)
    assert (shrunk.policy, shrunk.desired) == ("queue", 4)


def _of_copies(value: float, *tasks: str) -> list[Sample]:
    return [sample for task in tasks for sample in _filled("cpu", value, task)]


def test_twice_the_copies_while_versions_change_are_no_reason_to_shrink_or_not_to_grow() -> None:
    old, new = ([f"s.{i}.{version}" for i in range(4)] for version in (1, 2))
    service = Scalable(4, 1, 50, live=frozenset(old + new))
    held = decide([policy()], service, _of_copies(0.5, *old) + _of_copies(0, *new), [], NOW)
    assert isinstance(held, Hold)
    assert held.code is HoldCode.ON_TARGET
    grown = decide([policy()], service, _of_copies(0.5, *old, *new), [], NOW)
    assert isinstance(grown, Decision)
    assert grown.desired == 8


def test_copies_that_are_over_do_not_count_and_silent_ones_are_told() -> None:
    service = Scalable(4, 1, 50, live=frozenset(["s.0.2", "s.1.1"]))
    held = decide([policy()], service, _of_copies(0.9, "s.0.1", "s.1.1"), [], NOW)
    assert isinstance(held, Hold)
    assert held.sentence.endswith("its target 0.5, and 3 of 4 copies do not tell yet")
    blind = decide([policy()], service, _of_copies(0.9, "s.0.1"), [], NOW)
    assert isinstance(blind, Hold)
    assert blind.sentence == "cpu: none of its copies has told its cpu"


def test_one_that_only_scales_out_is_a_floor_for_the_others() -> None:
    floor = policy("floor", "queueDepth", tracking={"target": 10, "disable_scale_in": True})
    calm = [*(s for i in range(10) for s in _filled("cpu", 0.01, f"s.{i}.1"))]
    samples = calm + _filled("queueDepth", 61)
    shrunk = decide([policy(), floor], Scalable(10, 1, 50), samples, [], NOW)
    assert isinstance(shrunk, Decision)
    assert shrunk.desired == 7
    alone = decide([floor], Scalable(10, 1, 50), samples, [], NOW)
    assert isinstance(alone, Hold)
    assert alone.code is HoldCode.SCALE_IN_DISABLED


def test_a_queue_starts_the_first_copy() -> None:
    queue = policy("queue", "queueDepth", tracking={"target": 10})
    found = decide([queue], Scalable(0, 0, 50), _filled("queueDepth", 21), [], NOW)
    assert isinstance(found, Decision)
    assert found.desired == 3
    assert found.numbers["after"] == 3


@pytest.mark.parametrize(
    ("service", "value", "code"),
    [
        (Scalable(3, 1, 3), 900.0, HoldCode.AT_MAXIMUM),
        (Scalable(3, 3, 9), 0.0, HoldCode.AT_MINIMUM),
        (Scalable(3, 1, 9, enabled=False), 900.0, HoldCode.DISABLED),
        (Scalable(3, 1, 9, may_grow=False), 900.0, HoldCode.INCREASE_DISABLED),
        (Scalable(3, 1, 9, may_shrink=False), 0.0, HoldCode.DECREASE_DISABLED),
    ],
)
def test_limits_and_switches_hold(service: Scalable, value: float, code: HoldCode) -> None:
    queue = policy("queue", "queueDepth", tracking={"target": 10})
    held = decide([queue], service, _filled("queueDepth", value), [], NOW)
    assert isinstance(held, Hold)
    assert held.code is code


def test_cool_downs_hold_and_end() -> None:
    queue = policy("queue", "queueDepth", tracking={"target": 10})
    action = LastAction(policy="queue", at=NOW - timedelta(seconds=20), before=1, after=3)
    held = decide([queue], Scalable(3, 1, 50), _filled("queueDepth", 99), [action], NOW)
    assert isinstance(held, Hold)
    assert held.code is HoldCode.COOLING_DOWN
    assert "10 s more" in held.sentence
    action = LastAction(policy="other", at=NOW - timedelta(seconds=20), before=1, after=3)
    found = decide([queue], Scalable(3, 1, 50), _filled("queueDepth", 99), [action], NOW)
    assert isinstance(found, Decision)
    held = decide([queue], Scalable(3, 1, 50), _filled("queueDepth", 0), [action], NOW)
    assert isinstance(held, Hold)
    assert held.code is HoldCode.COOLING_DOWN


@pytest.mark.parametrize(("value", "desired"), [(99, 4), (101, 5), (120, 5), (121, 8), (1e9, 8)])
def test_steps_go_by_the_distance_from_the_threshold(value: float, desired: int) -> None:
    rule = steps(
        "above",
        100,
        {"upper": 21, "adjustment": 1},
        {"lower": 21, "adjustment": 4},
    )
    found = decide([rule], Scalable(4, 1, 9), _filled("queueDepth", value), [], NOW)
    assert (found.desired if isinstance(found, Decision) else 4) == desired


@pytest.mark.parametrize(
    ("adjustment", "number", "least", "desired"),
    [
        ("percent", 1, 1, 11),
        ("percent", 26, 1, 12),
        ("percent", 10, 4, 14),
        ("percent", -26, 1, 8),
        ("exact", 3, 1, 3),
        ("change", -20, 1, 1),
    ],
)
def test_adjustments(adjustment: str, number: float, least: int, desired: int) -> None:
    rule = steps("atLeast", 0, {"adjustment": number}, adjustment=adjustment, min_magnitude=least)
    found = decide([rule], Scalable(10, 1, 50), _filled("queueDepth", 5), [], NOW)
    assert isinstance(found, Decision)
    assert found.desired == desired


def test_an_alarm_needs_all_its_periods() -> None:
    rule = steps("below", 10, {"adjustment": -1}, alarm={"periods": 3})
    samples = [Sample("queueDepth", "", 5, NOW - timedelta(seconds=age)) for age in (1, 31)]
    blind = decide([rule], Scalable(5, 1, 9), samples, [], NOW)
    assert isinstance(blind, Hold)
    assert blind.code is HoldCode.STALE_SAMPLES
    third = Sample("queueDepth", "", 50, NOW - timedelta(seconds=70))
    held = decide([rule], Scalable(5, 1, 9), [*samples, third], [], NOW)
    assert isinstance(held, Hold)
    assert held.sentence.endswith("2 of 3 periods are below 10")
    third = Sample("queueDepth", "", 9, NOW - timedelta(seconds=70))
    found = decide([rule], Scalable(5, 1, 9), [*samples, third], [], NOW)
    assert isinstance(found, Decision)
    assert found.desired == 4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"target_tracking": None}, "exactly one of target_tracking, step_scaling"),
        ({"target_tracking": {"target": 0}}, "target_tracking.target"),
        ({"target_tracking": {"target": math.nan}}, "target_tracking.target"),
        ({"metric": "a b"}, "metric"),
    ],
)
def test_wrong_policies_are_told_by_field(wrong: dict[str, Any], told: str) -> None:
    given = {"name": "cpu", "metric": "cpu", "target_tracking": {"target": 0.5}} | wrong
    with pytest.raises(ValidationError) as refused:
        ScalingPolicy.model_validate(given)
    [detail] = refused.value.errors()
    assert told in ".".join(map(str, detail["loc"])) or told in detail["msg"]


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ([(None, 5), (6, None)], "steps[1].lower"),
        ([(1, None)], "steps[0].lower"),
        ([(0, 5)], "steps[-1].upper"),
    ],
)
def test_steps_without_gaps(bounds: list[tuple[float | None, float | None]], told: str) -> None:
    listed = [{"lower": low, "upper": high, "adjustment": 1} for low, high in bounds]
    with pytest.raises(ValidationError, match=told.replace("[", r"\[")):
        steps("above", 10, *listed)


def _added_up(samples: list[Sample], whole: float) -> tuple[list[Sample], list[MinuteFigures]]:
    """The samples of the last ``whole`` seconds, and the minutes of those before."""
    old = [one for one in samples if (NOW - one.at).total_seconds() > whole]
    begins = {one.at.replace(second=0) for one in old}
    minutes = []
    for begin in begins:
        those = [one for one in old if one.at.replace(second=0) == begin]
        values = [one.value for one in those]
        by_task = {task: [o.value for o in those if o.task_id == task] for task in _tasks(those)}
        together = sum(sum(told) / len(told) for told in by_task.values())
        middle = begin + timedelta(seconds=30)
        figures = (together, len(values), sum(values), min(values), max(values))
        minutes.append(MinuteFigures("cpu", True, middle, *figures))
    return [one for one in samples if one not in old], minutes


def _tasks(samples: list[Sample]) -> set[str]:
    return {one.task_id for one in samples}


@FEW
@given(
    loads=st.lists(st.floats(0.01, 1), min_size=8, max_size=8),
    copies=st.integers(1, 6),
    rule=st.sampled_from(
        [
            policy(period_seconds=60, tracking={"scale_in_window_seconds": 300}),
            policy(
                period_seconds=60,
                step_scaling={
                    "alarm": {"comparison": "below", "threshold": 0.3, "periods": 5},
                    "steps": [{"adjustment": -1}],
                },
            ),
        ]
    ),
)
def test_what_is_added_up_decides_as_its_samples_would(
    loads: list[float], copies: int, rule: ScalingPolicy
) -> None:
    samples = [
        Sample("cpu", f"s.{index}.1", loads[age // 60], NOW - timedelta(seconds=age))
        for age in range(1, 480, 15)
        for index in range(copies)
    ]
    service = Scalable(copies, 0, 50, live=frozenset(_tasks(samples)))
    all_told = decide([rule], service, samples, [], NOW)
    each, minutes = _added_up(samples, 120)
    assert minutes
    found = decide([rule], service, each, [], NOW, minutes)
    assert type(found) is type(all_told)
    assert [one.wants for one in found.verdicts] == [one.wants for one in all_told.verdicts]
    assert [one.code for one in found.verdicts] == [one.code for one in all_told.verdicts]

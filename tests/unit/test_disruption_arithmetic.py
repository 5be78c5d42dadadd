"""The numbers of disruption budgets, as Titus has them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from fleetwide.containers.disruption_gate import JobGate, Member, system_refusal
from fleetwide.containers.disruption_rates import (
    Rate,
    SystemQuota,
    Tokens,
    free_at,
    rate_of,
    still_used,
)
from fleetwide.containers.disruption_windows import is_open, opens_at
from fleetwide.containers.disruptions import default_budget, is_healthy, min_healthy, quota
from fleetwide.models.disruptions import (
    DisruptionBudget,
    DisruptionPolicy,
    DisruptionRate,
    DisruptionWindow,
)
from fleetwide.models.disturbances import END_OF, REFUSAL_TEXT, Cause, RefusalCode
from fleetwide.models.evictions import EVICTIONS
from fleetwide.models.services import ContainerServiceSpec

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday


def second(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def share(percent: float) -> DisruptionPolicy:
    return DisruptionPolicy.model_validate({"availability_percentage": {"percent": percent}})


def missing(copies: int) -> DisruptionPolicy:
    return DisruptionPolicy.model_validate({"unhealthy_limit": {"copies": copies}})


def gate(
    policy: dict[str, Any], *, healthy: int, unhealthy: int = 0, desired: int = 0, **more: Any
) -> JobGate:
    budget = DisruptionBudget.model_validate({"policy": policy, **more})
    members = {number: Member(number < healthy) for number in range(healthy + unhealthy)}
    return JobGate(budget, desired or len(members), members)


def test_every_code_has_its_words() -> None:
    assert set(REFUSAL_TEXT) == set(RefusalCode)
    assert set(END_OF) == set(Cause)
    assert set(END_OF.values()) <= set(EVICTIONS)


@pytest.mark.parametrize(
    ("policy", "desired", "least"),
    [
        (share(95), 10, 9),
        (share(100), 10, 9),  # one may always go when all are healthy
        (share(2.3), 1000, 23),  # exactly: floats say 22.999...
        (share(50), 3, 2),
        (share(0), 10, 0),
        (missing(0), 4, 3),  # 0 counts as 1
        (missing(1), 4, 3),
        (missing(9), 4, 0),
        (share(95), 1, 0),  # jobs smaller than two are exempt
        (missing(1), 1, 0),
        (missing(1), 0, 0),
    ],
)
def test_so_many_stay_healthy(policy: DisruptionPolicy, desired: int, least: int) -> None:
    assert min_healthy(policy, desired) == least


def test_what_may_go_is_what_is_healthy_beyond_that() -> None:
    assert (quota(share(95), 10, 10), quota(share(95), 10, 9), quota(share(95), 10, 3)) == (1, 0, 0)
    assert quota(share(95), 1, 0) == 1


@pytest.mark.parametrize(
    ("state", "status", "checked", "healthy"),
    [
        ("Started", None, False, True),
        ("Started", "healthy", True, True),
        ("Started", "unhealthy", True, False),
        ("Started", "starting", True, False),
        ("Started", None, True, False),
        ("Started", "unhealthy", False, True),  # alwaysHealthy: nobody is asked
        ("StartInitiated", "healthy", True, False),
        ("KillInitiated", "healthy", True, False),
        ("Disconnected", "healthy", True, False),
    ],
)
def test_who_is_healthy(state: str, status: str | None, checked: bool, healthy: bool) -> None:
    assert is_healthy(state, status, checked=checked) is healthy


def test_one_that_is_not_healthy_goes_only_while_the_others_suffice() -> None:
    job = gate({"unhealthy_limit": {"copies": 1}}, healthy=3, unhealthy=1)
    refused = job.refusal(0, NOW)
    assert refused is not None
    assert refused.code is RefusalCode.TOO_FEW_HEALTHY
    assert refused.numbers == {"healthy": 3, "desired": 4, "minHealthy": 3}
    assert refused.sentence == "3 of 4 are healthy, and 3 have to stay so"
    assert job.refusal(3, NOW) is None
    worse = gate({"unhealthy_limit": {"copies": 1}}, healthy=2, unhealthy=2)
    assert worse.refusal(3, NOW) is not None


def test_a_share_of_what_is_desired_now_is_the_rate() -> None:
    rate = DisruptionRate.model_validate({"percentage_per_interval": {"percent": 5, "seconds": 60}})
    assert (rate_of(rate, 100), rate_of(rate, 200)) == (Rate(5, 60), Rate(10, 60))
    assert rate_of(rate, 3) == Rate(1, 60)  # at least one
    hourly = DisruptionRate.model_validate({"percentage_per_hour": {"percent": 0}})
    assert rate_of(hourly, 100) == Rate(0, 3600)
    assert rate_of(DisruptionRate(), 100) is None


def test_a_changed_rate_counts_what_was_moved_before() -> None:
    used = [second(0), second(1), second(2)]
    assert len(still_used(used, Rate(5, 60), second(10))) == 3
    assert free_at(used, Rate(5, 60), second(10)) == second(10)
    assert free_at(used, Rate(3, 60), second(10)) == second(63)  # 20 buckets of 3 s, and its own
    assert free_at(used, Rate(1, 60), second(10)) == second(63)
    assert free_at([], Rate(0, 60), NOW) is None


def test_no_window_of_the_intervals_length_sees_more_than_the_rate() -> None:
    rate, used, now = Rate(2, 1), list[datetime](), NOW
    for _ in range(400):
        if free_at(used, rate, now) == now:
            used.append(now)
        now += timedelta(milliseconds=7)
    for start in used:
        assert sum(start <= one < start + timedelta(seconds=1) for one in used) <= 2
    assert len(used) >= 4


def test_a_rate_of_nothing_says_that_it_never_comes() -> None:
    nothing = {"count_per_interval": {"count": 0, "seconds": 60}}
    refused = gate({"unhealthy_limit": {"copies": 1}}, healthy=4, rate=nothing).refusal(0, NOW)
    assert refused is not None
    assert (refused.code, refused.until) == (RefusalCode.RATE_USED, None)
    assert refused.sentence == "its rate is 0: it is moved only by force"


def test_a_used_rate_says_when_the_next_may_go() -> None:
    one = {"count_per_interval": {"count": 1, "seconds": 60}}
    job = gate({"unhealthy_limit": {"copies": 3}}, healthy=4, rate=one)
    job.take(0, NOW)
    refused = job.refusal(1, second(1))
    assert refused is not None
    assert (refused.code, refused.until) == (RefusalCode.RATE_USED, second(63))
    assert refused.numbers == {"used": 1, "allowed": 1, "seconds": 60}
    assert job.refusal(1, second(63)) is None


def test_the_owner_has_time_and_then_it_is_moved() -> None:
    job = gate({"self_managed": {"relocation_seconds": 600}}, healthy=1)
    first = job.refusal(0, NOW)
    assert first is not None
    assert (first.code, first.until) == (RefusalCode.SELF_MANAGED, second(600))
    later = JobGate(job.budget, 1, {0: Member(healthy=True, announced_at=NOW)})
    assert later.refusal(0, second(599)) is not None
    assert later.refusal(0, second(600)) is None


def test_what_was_moved_often_enough_stays() -> None:
    budget = gate({"relocation_limit": {"times": 2}}, healthy=1).budget
    members = {1: Member(healthy=True, relocations=1), 2: Member(healthy=True, relocations=2)}
    job = JobGate(budget, 2, members)
    assert job.refusal(1, NOW) is None
    refused = job.refusal(2, NOW)
    assert refused is not None
    assert (refused.code, refused.until) == (RefusalCode.RELOCATION_LIMIT, None)


@pytest.mark.parametrize(
    ("limit", "notice"), [(None, 60), (10, 60), (100, 120), (432_000, 518_400)]
)
def test_who_names_no_budget_has_titus_own(limit: float | None, notice: float) -> None:
    policy = default_budget(limit).policy.self_managed
    assert policy is not None
    assert policy.relocation_seconds == notice
    borrowed = default_budget(limit, Cause.PREEMPTION).policy.self_managed
    assert borrowed is not None
    assert borrowed.relocation_seconds == 0


def window(**values: Any) -> DisruptionWindow:
    return DisruptionWindow.model_validate(values)


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("at", "open_now"),
    [
        ("2026-03-04T07:00Z", True),  # 8:00 in winter
        ("2026-03-04T06:59Z", False),
        ("2026-03-04T15:00Z", False),  # 16:00 is not included
        ("2026-07-01T06:00Z", True),  # 8:00 in summer
        ("2026-07-01T14:00Z", False),
        ("2026-03-07T10:00Z", False),  # a Saturday
    ],
)
def test_a_window_goes_by_the_clock_on_the_wall(at: str, open_now: bool) -> None:
    days = ["monday", "tuesday", "wednesday", "thursday", "friday"]
    office = [window(days=days, from_hour=8, to_hour=16, zone=BERLIN)]
    assert is_open(office, datetime.fromisoformat(at)) is open_now


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        ((8, 16), "2026-03-04T06:00Z", "2026-03-04T07:00Z"),
        ((8, 16), "2026-03-04T16:00Z", "2026-03-05T07:00Z"),
        ((8, 16), "2026-03-28T16:00Z", "2026-03-29T06:00Z"),  # the clock goes on by an hour
        ((2, 4), "2026-03-29T00:30Z", "2026-03-29T01:00Z"),  # 2:00 is skipped: it is 3:00
        ((2, 3), "2026-03-29T00:30Z", "2026-03-30T00:00Z"),  # and the whole hour is
        ((2, 3), "2026-10-24T23:00Z", "2026-10-25T00:00Z"),  # 2:00 comes twice
    ],
)
def test_a_window_says_when_it_opens(hours: tuple[int, int], now: str, opens: str) -> None:
    windows = [window(from_hour=hours[0], to_hour=hours[1], zone=BERLIN)]
    assert opens_at(windows, datetime.fromisoformat(now)) == datetime.fromisoformat(opens)


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    night = [window(days=["sunday"], from_hour=2, to_hour=3, zone=BERLIN)]
    begin = datetime(2026, 10, 25, 0, tzinfo=UTC)
    assert is_open(night, begin)
    assert is_open(night, begin + timedelta(minutes=90))
    assert not is_open(night, begin + timedelta(hours=2))
    skipped = datetime(2026, 3, 28, 12, tzinfo=UTC)  # its own Sunday has no such hour
    assert opens_at(night, skipped) == datetime(2026, 4, 5, 0, tzinfo=UTC)


def test_the_first_of_several_windows_counts() -> None:
    both = [window(days=["friday"]), window(days=["thursday"], from_hour=20, zone="Asia/Tokyo")]
    assert opens_at(both, NOW) == datetime(2026, 3, 5, 11, tzinfo=UTC)
    closed = gate(
        {"unhealthy_limit": {"copies": 1}}, healthy=4, windows=[{"days": ["friday"]}]
    ).refusal(0, NOW)
    assert closed is not None
    assert closed.code is RefusalCode.WINDOW_CLOSED
    assert closed.until == datetime(2026, 3, 6, tzinfo=UTC)
    assert "the next one opens at 2026-03-06 00:00:00 UTC" in closed.sentence
    assert opens_at([], NOW) == NOW


def test_tokens_come_back_by_the_second() -> None:
    rules = SystemQuota(most=10, per_second=2)
    spent = Tokens(0, NOW)
    refused = system_refusal(7, spent, rules)
    assert refused is not None
    assert (refused.code, refused.until) == (RefusalCode.SYSTEM_QUOTA, second(0.5))
    assert system_refusal(7, spent.by(second(0.5), rules), rules) is None
    assert spent.by(second(60), rules).left == 10
    assert Tokens(3, NOW).by(second(-60), rules).left == 3
    never = system_refusal(7, spent, SystemQuota(most=10, per_second=0))
    assert never is not None
    assert (never.until, never.sentence.endswith("none until the settings change")) == (None, True)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"policy": {}}, "needs exactly one of self_managed"),
        ({"policy": {"unhealthy_limit": {"copies": -1}}}, "policy.unhealthy_limit.copies"),
        ({"policy": {"availability_percentage": {"percent": 101}}}, "less than or equal to 100"),
        ({"rate": {"count_per_interval": {"count": 1, "seconds": 3601}}}, "rate.count_per_interval"),
        ({"rate": {"count_per_interval": {"count": 1, "seconds": 0}}}, "equal to 0.001"),
        (
            {"rate": {"percentage_per_hour": {"percent": 1},
                      "count_per_interval": {"count": 1, "seconds": 1}}},
            "needs one rate, not percentage_per_hour and count_per_interval",
        ),
        ({"windows": [{"days": []}]}, "the window never opens; leave days out"),
        ({"windows": [{"from_hour": 22, "to_hour": 6}]}, "the window never opens; for hours around"),
        ({"windows": [{"zone": "Mars/Olympus"}]}, "'Mars/Olympus' is not the name of a time zone"),
        ({"windows": [{"zone": "../etc/passwd"}]}, "is not the name of a time zone"),
        ({"health": "eureka"}, "'container' or 'alwaysHealthy'"),
        ({"policy": {"relocation_limit": {"times": 1}}}, "is for tasks and batch jobs"),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_be_is_told_by_its_field(budget: dict[str, Any], told: str) -> None:
    given = {"policy": {"unhealthy_limit": {"copies": 1}}, **budget}
    spec = {"app": "a", "container": {"image": "apps/a:1"}, "disruption_budget": given}
    with pytest.raises(ValidationError) as refused:
        ContainerServiceSpec.model_validate(spec)
    assert told in str(refused.value)

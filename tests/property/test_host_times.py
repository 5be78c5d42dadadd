"""Times of a host whose clock is wrong: they end up in order, and last as long as the host says."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.containers.host_times import Run, fitted

LAUNCHED = datetime(2026, 1, 2, tzinfo=UTC)
SECONDS = st.integers(0, 600).map(lambda seconds: timedelta(seconds=seconds))
SKEWS = st.integers(-900, 900).map(lambda seconds: timedelta(seconds=seconds))


@settings(max_examples=100)
@given(SECONDS, SECONDS, SECONDS, SKEWS)
def test_a_wrong_clock_changes_neither_order_nor_duration(
    waited: timedelta, ran: timedelta, booked: timedelta, skew: timedelta
) -> None:
    start = LAUNCHED + waited
    now = start + ran + booked
    run = fitted(Run(start + skew, start + skew + ran), launched=LAUNCHED, now=now)
    assert run.started
    assert run.ended
    assert LAUNCHED <= run.started <= run.ended <= now
    assert run.ended - run.started == ran
    if not skew:
        assert run.started == start


@settings(max_examples=50)
@given(SECONDS, SECONDS, SKEWS)
def test_one_time_alone_is_between_launch_and_now(
    waited: timedelta, booked: timedelta, skew: timedelta
) -> None:
    moment = LAUNCHED + waited + skew
    now = LAUNCHED + waited + booked
    for told in (Run(started=moment), Run(ended=moment)):
        run = fitted(told, launched=LAUNCHED, now=now)
        [found] = [one for one in (run.started, run.ended) if one is not None]
        assert LAUNCHED <= found <= now


def test_what_cannot_have_lasted_so_long_is_cut_and_nothing_told_stays_nothing() -> None:
    now = LAUNCHED + timedelta(seconds=10)
    told = Run(LAUNCHED - timedelta(seconds=60), LAUNCHED + timedelta(seconds=5))
    assert fitted(told, launched=LAUNCHED, now=now) == Run(LAUNCHED, now)
    assert fitted(Run(), launched=None, now=now) == Run()
    assert fitted(told, launched=None, now=now) == told
    earlier = LAUNCHED - timedelta(seconds=1)
    assert fitted(Run(LAUNCHED, now), launched=LAUNCHED, now=earlier) == Run(earlier, earlier)

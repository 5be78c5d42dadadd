"""The valve: many hosts that vanish together are not given up."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.valve import Silence, ValveRules, sentence, vanished_together

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RULES = ValveRules()


def silent(*seconds: float) -> list[Silence]:
    return [Silence(f"h{n}", NOW + timedelta(seconds=at)) for n, at in enumerate(seconds)]


def test_one_host_alone_is_given_up_however_small_the_fleet() -> None:
    assert vanished_together(silent(0), 1, RULES) == ()
    assert vanished_together(silent(0), 2, RULES) == ()


def test_two_of_two_are_not() -> None:
    assert len(vanished_together(silent(0, 3), 2, RULES)) == 2


def test_more_than_a_fifth_of_the_fleet_closes_it() -> None:
    assert vanished_together(silent(0, 1), 10, RULES) == ()
    assert len(vanished_together(silent(0, 1, 2), 10, RULES)) == 3


def test_five_hosts_close_it_in_a_large_fleet() -> None:
    assert vanished_together(silent(0, 1, 2, 3), 1000, RULES) == ()
    assert len(vanished_together(silent(0, 1, 2, 3, 4), 1000, RULES)) == 5


def test_hosts_that_fail_one_after_the_other_are_given_up() -> None:
    assert vanished_together(silent(0, 61, 122, 183, 244, 305), 10, RULES) == ()


def test_only_those_that_vanished_together_are_held() -> None:
    held = vanished_together(silent(0, 600, 601, 602), 10, RULES)
    assert [one.host_id for one in held] == ["h1", "h2", "h3"]


def test_an_operator_releases_those_that_are_silent_by_then() -> None:
    silences = silent(0, 1, 2)
    assert vanished_together(silences, 10, RULES, NOW + timedelta(seconds=2)) == ()
    later = [*silences, *(Silence(f"n{n}", NOW + timedelta(seconds=9 + n)) for n in range(3))]
    held = vanished_together(later, 10, RULES, NOW + timedelta(seconds=2))
    assert [one.host_id for one in held] == ["n0", "n1", "n2"]


def test_the_sentence_names_hosts_and_numbers() -> None:
    held = vanished_together(silent(*range(7)), 20, RULES)
    assert sentence(held, 20).startswith(
        "7 of 20 hosts fell silent together (h0, h1, h2, h3, h4 and 2 more): nothing"
    )


@given(
    seconds=st.lists(st.floats(0, 600), max_size=30),
    extra=st.integers(0, 100),
)
def test_it_is_closed_exactly_when_some_minute_has_too_many(
    seconds: list[float], extra: int
) -> None:
    silences, fleet = silent(*seconds), len(seconds) + extra
    most = max(
        (
            sum(one.since <= other.since <= one.since + timedelta(seconds=60) for other in silences)
            for one in silences
        ),
        default=0,
    )
    assert bool(vanished_together(silences, fleet, RULES)) == (most >= RULES.limit(fleet))

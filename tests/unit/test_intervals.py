"""What is done every so often is done also after the clock was set back."""

from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.intervals import is_over

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("since", "over"),
    [
        (None, True),
        (NOW, False),
        (NOW - MINUTE / 2, False),
        (NOW - MINUTE, True),
        (NOW + timedelta(hours=1), True),
    ],
)
def test_an_interval_is_over_in_time_or_when_it_began_in_the_future(
    since: datetime | None, over: bool
) -> None:
    assert is_over(since, MINUTE, NOW) is over

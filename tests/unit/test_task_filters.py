"""Times in the filters of tasks."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from api.task_filters import TaskFilter
from fleetwide.errors import InvalidInput


def test_a_time_without_a_zone_means_utc() -> None:
    wanted = TaskFilter(
        submitted_after=datetime(2026, 1, 2),
        submitted_before=datetime(2026, 1, 3, 1, tzinfo=timezone(timedelta(hours=1))),
    ).wanted()
    assert wanted.submitted_after == datetime(2026, 1, 2, tzinfo=UTC)
    assert wanted.submitted_before == datetime(2026, 1, 3, tzinfo=UTC)


def test_a_time_that_is_none_in_utc_is_refused() -> None:
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    with pytest.raises(InvalidInput, match="submitted_after"):
        TaskFilter(submitted_after=first).wanted()
    last = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))
    with pytest.raises(InvalidInput, match="submitted_before"):
        TaskFilter(submitted_before=last).wanted()

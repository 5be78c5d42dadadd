from typing import Any

from fleetwide.containers.health import HealthTally
from fleetwide.models.health import ContainerHealth, HealthStatus


def tally(**fields: Any) -> HealthTally:
    given = {"tcp": {"port": 1}, "start_period_seconds": 10, "interval_seconds": 5, **fields}
    return HealthTally(ContainerHealth.model_validate(given), started=100.0)


def test_failures_in_the_start_period_do_not_count_and_are_asked_again_soon() -> None:
    one = tally(failures=1)
    one.note(100.25, "no")
    assert (one.status, one.next_try) == (HealthStatus.STARTING, 101.25)
    one.note(110.0, "no")
    assert one.status is HealthStatus.UNHEALTHY
    assert one.next_try == 115.0


def test_a_container_that_was_well_once_has_no_start_period_any_more() -> None:
    one = tally(failures=1)
    one.note(101, None)
    one.note(102, "gone")
    assert one.status is HealthStatus.UNHEALTHY


def test_thresholds_are_of_checks_in_a_row() -> None:
    one = tally(failures=2, successes=2, start_period_seconds=0)
    for said, status in (
        (None, HealthStatus.STARTING),
        ("no", HealthStatus.STARTING),
        (None, HealthStatus.STARTING),
        (None, HealthStatus.HEALTHY),
        ("no", HealthStatus.HEALTHY),
        (None, HealthStatus.HEALTHY),
        ("no", HealthStatus.HEALTHY),
        ("no way", HealthStatus.UNHEALTHY),
        (None, HealthStatus.UNHEALTHY),
        (None, HealthStatus.HEALTHY),
    ):
        one.note(200.0, said)
        assert one.status is status


def test_it_explains_itself() -> None:
    one = tally(failures=2, start_period_seconds=0)
    one.note(200.0, "a")
    assert one.explain() == "its health check failed once: a"
    one.note(200.0, "b")
    assert one.explain() == "its health check failed 2 times in a row: b"

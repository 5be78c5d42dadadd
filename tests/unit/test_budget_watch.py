"""The benchmark's own arithmetic of disruption budgets: it finds what breaks one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks.budget_watch import Copy, Found, Moved, floor, violations
from fleetwide.models.disruptions import DisruptionBudget

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def budget(policy: dict[str, Any], **rate: Any) -> DisruptionBudget:
    return DisruptionBudget.model_validate({"policy": policy, **({"rate": rate} if rate else {})})


EIGHTY = budget({"availability_percentage": {"percent": 80}})
QUICK = budget(
    {"self_managed": {"relocation_seconds": 0}}, count_per_interval={"count": 1, "seconds": 30}
)
NOTICE = budget({"self_managed": {"relocation_seconds": 20}})
STAYS, LEAVES = Copy("s", True, False, False), Copy("s", True, False, True)
SILENT, SICK = Copy("s", False, True, False), Copy("s", False, False, False)


@pytest.mark.parametrize(
    ("copies", "found"),
    [
        ([STAYS] * 4 + [LEAVES], 0),
        ([STAYS] * 3 + [LEAVES] * 2, 1),
        ([STAYS] * 3 + [LEAVES, SICK], 1),
        ([STAYS] * 3 + [SICK] * 2, 0),  # nobody was let go
        ([STAYS] * 3 + [LEAVES, SILENT], 0),  # and nobody counts on a host that is silent
    ],
)
def test_too_few_that_stay_are_found(copies: list[Copy], found: int) -> None:
    seen = Found()
    seen.note(copies, {"s": (EIGHTY, 5)})
    assert violations(seen, {"s": (EIGHTY, 5)}, [])["tooFewHealthy"] == found


@pytest.mark.parametrize(
    ("policy", "least"),
    [
        ({"availability_percentage": {"percent": 61}}, 4),
        ({"availability_percentage": {"percent": 100}}, 4),
        ({"unhealthy_limit": {"copies": 2}}, 3),
        ({"unhealthy_limit": {"copies": 0}}, 4),
        ({"self_managed": {"relocation_seconds": 1}}, 0),
    ],
)
def test_the_floor_of_each_policy(policy: dict[str, Any], least: int) -> None:
    assert floor(budget(policy), 5) == least


def moved(*seconds: float, planned: float | None = None) -> list[Moved]:
    told = None if planned is None else NOW + timedelta(seconds=planned)
    return [Moved("s", n, NOW + timedelta(seconds=at), told) for n, at in enumerate(seconds)]


def test_moves_that_come_too_fast_or_too_soon_are_found() -> None:
    quick, notice = {"s": (QUICK, 5)}, {"s": (NOTICE, 5)}
    assert violations(Found(), quick, moved(0, 29, 40, planned=0))["tooFast"] == 2
    assert violations(Found(), quick, moved(0, 30, planned=0))["tooFast"] == 0
    assert violations(Found(), notice, moved(19, 20, planned=0))["tooSoon"] == 1
    assert violations(Found(), notice, moved(19))["tooSoon"] == 1

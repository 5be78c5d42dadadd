"""What stands against a promotion, and what keeps a release from its retirement."""

from datetime import timedelta
from typing import Any

import pytest

from fleetwide.baseos.gates import obstacles, soak_ends, surplus, uses
from fleetwide.models.baseos import RetentionSpec
from fleetwide.models.os_releases import BootReport, Channel, ReleaseState
from tests.unit.os_plans import NOW, release, spec_of

PASSED = {"checks": [{"name": "packages", "passed": True}], "seconds": 1}
FAILED = {"checks": [{"name": "setuid", "passed": False, "found": ["x"]}], "seconds": 1}
BOOT = {
    "passed": True,
    "state": "running",
    "accelerator": "tcg",
    "boot": "bios",
    "seconds": 60,
    "console_key": "k",
}
SOAK = spec_of(promotion={"soak_hours": 24})


def against(spec: dict[str, Any], *, emergency: bool = False, **changes: Any) -> list[str]:
    made = release(candidate_at=NOW, **changes)
    return obstacles(spec_of(**spec), made, NOW + timedelta(hours=1), emergency=emergency)


def test_a_candidate_that_passed_can_be_promoted() -> None:
    assert against({}, static={"container": PASSED}) == []


def test_what_is_not_built_yet_cannot() -> None:
    assert obstacles(spec_of(), None, NOW, emergency=True) == ["it is still being built"]


@pytest.mark.parametrize("state", [*ReleaseState])
def test_only_what_may_be_used_can_be_promoted(state: ReleaseState) -> None:
    free = {"candidate", "stable", "previous", "superseded"}
    found = against({}, state=state, reason="because", emergency=True)
    assert found == ([] if state in free else [f"it is {state}: because"])


def test_failed_checks_stand_against_it_even_in_an_emergency() -> None:
    found = against({}, static={"container": PASSED, "vm": FAILED}, emergency=True)
    assert found == ["its static checks for vm failed"]


@pytest.mark.parametrize(
    ("boot", "tests", "stands"),
    [
        (None, {}, True),
        ({**BOOT, "passed": False}, {}, True),
        (BOOT, {}, False),
        (None, {"boot": False}, False),
    ],
)
def test_a_vm_must_have_booted_unless_that_was_switched_off(
    boot: dict[str, Any] | None, tests: dict[str, Any], *, stands: bool
) -> None:
    report = BootReport.model_validate(boot) if boot else None
    found = against({"tests": tests, "targets": ["vm"]}, targets=["vm"], boot=report)
    assert found == (["it has not passed its boot test"] if stands else [])


def test_the_soak_is_told_with_what_is_left_of_it() -> None:
    [found] = against({"promotion": {"soak_hours": 24}})
    assert found == "its soak ends in 23.0 hours, at 2026-11-23 23:30 UTC (emergency skips it)"
    assert against({"promotion": {"soak_hours": 24}}, emergency=True) == []
    assert against({"promotion": {"soak_hours": 1}}) == []


def test_a_release_that_was_stable_needs_no_second_soak() -> None:
    soak = {"promotion": {"soak_hours": 24}}
    assert against(soak, state="previous", promoted_at=NOW) == []


def test_the_soak_begins_when_it_becomes_a_candidate() -> None:
    assert soak_ends(SOAK, release()) is None
    assert soak_ends(SOAK, release(candidate_at=NOW)) == NOW + timedelta(hours=24)


def test_everything_that_stands_against_it_is_told_at_once() -> None:
    found = against(
        {"promotion": {"soak_hours": 24}, "targets": ["vm"]},
        targets=["vm"],
        static={"vm": FAILED},
    )
    assert len(found) == 3


def test_only_what_is_beyond_the_count_and_the_age_goes() -> None:
    ages = [1, 50, 100, 200, 300]
    made = [release(str(age), created_at=NOW - timedelta(days=age)) for age in ages]
    policy = RetentionSpec(keep=2, max_age_days=180)
    assert [one.version for one in surplus(made, policy, NOW)] == ["200", "300"]
    assert surplus(made, RetentionSpec(keep=5, max_age_days=1), NOW) == []
    assert surplus([], policy, NOW) == []


def test_every_use_is_told() -> None:
    assert uses([], 0, 0) == []
    assert uses([Channel.STABLE], 2, 1) == [
        "channel stable points at it",
        "2 baked images stand on it",
        "1 jobs run on it",
    ]

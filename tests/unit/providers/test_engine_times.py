"""How long containers have run, and how they ended first, as an engine's answers tell."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetwide.containers.outcome import ContainerState
from fleetwide.providers import engine_times
from fleetwide.providers.docker_ends import End, first_end
from fleetwide.providers.engine_times import age_of, began
from fleetwide.providers.lease_folder import boot_time

LATER = datetime(2026, 1, 2, 12, 0, 1, tzinfo=UTC)


def running(started: datetime | None, since_boot: float | None) -> ContainerState:
    return ContainerState("c", "running", 0, oom_killed=False, started_at=started, began=since_boot)


@pytest.mark.parametrize("set_by", [timedelta(hours=-3), timedelta(0), timedelta(days=9)])
def test_a_clock_that_was_set_does_not_change_an_age(set_by: timedelta) -> None:
    found = running(datetime.now(UTC) + set_by, boot_time() - 60)
    assert 60 <= age_of(found) < 120


def test_an_age_without_the_clock_since_boot() -> None:
    assert age_of(running(None, None)) == 0
    hour_old = running(datetime.now(UTC) - timedelta(hours=1), None)
    assert 3600 <= age_of(hour_old) < 3700


def test_only_a_process_of_the_container_tells_when_it_began(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = os.getpid()
    assert began(pid, "of-no-container") is None
    assert began(0, "") is None
    here = began(pid, "/")
    assert here is not None
    assert 0 < here < boot_time()
    monkeypatch.setattr(engine_times, "Path", lambda *_: tmp_path)
    assert began(pid, "gone") is None


def die(code: int, at: datetime) -> dict[str, Any]:
    about = {"exitCode": str(code), "name": "c"}
    return {"timeNano": int(at.timestamp() * 1e9), "Actor": {"Attributes": about}}


def test_the_first_of_two_ends_counts() -> None:
    ends = [die(255, LATER + timedelta(milliseconds=40)), die(143, LATER)]
    assert first_end(ends) == End(143, LATER)
    assert first_end([]) is None

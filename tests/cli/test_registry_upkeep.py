"""``fleetwide registry gc|reconcile|scrub`` against a whole control plane."""

import json

import pytest
from starlette.testclient import TestClient

from tests.cli.conftest import Command

GC = ("registry", "gc")


@pytest.fixture
def paused(cli_plane: TestClient) -> str:
    """A collection that waits to be resumed."""
    begun = cli_plane.post("/v1/registry/gc", json={"paused": True})
    assert begun.status_code == 202, begun.text
    run: str = begun.json()["id"]
    return run


def test_a_collection_is_run_and_reported(fleetwide: Command) -> None:
    dry = fleetwide(*GC, "run", "--dry-run", "--per-second", "900")
    assert dry.code == 0, dry.err
    assert "would free:" in dry.out
    ran = fleetwide(*GC, "run", "--batch", "10", "-o", "json")
    assert (ran.code, json.loads(ran.out)["dry_run"]) == (0, False)
    reports = fleetwide(*GC, "report", "-o", "name").out.split()
    assert len(reports) == len(set(reports)) == 2
    assert all(one.startswith("registry-gc/") for one in reports)
    assert "removed 0 manifests" in fleetwide(*GC, "report", "--limit", "1").out
    shown = fleetwide(*GC, "status", reports[0].removeprefix("registry-gc/"))
    assert ["phase:", "done"] in [line.split() for line in shown.out.splitlines()]
    assert fleetwide(*GC, "run", "--batch", "0").code == 3


def test_a_collection_is_paused_slowed_down_and_resumed(fleetwide: Command, paused: str) -> None:
    assert f"registry-gc/{paused}" in fleetwide(*GC, "status").out
    assert fleetwide(*GC, "pause", paused).code == 5
    slowed = fleetwide(*GC, "rate", paused, "50", "-o", "json")
    assert json.loads(slowed.out)["per_second"] == 50
    assert fleetwide(*GC, "rate", paused, "0").code == 3
    resumed = fleetwide(*GC, "resume", paused, "--reason", "night", "--by", "ada", "-o", "json")
    assert not json.loads(resumed.out)["paused"]
    assert fleetwide(*GC, "resume", "none").code == 4
    assert fleetwide(*GC, "status", "none").code == 4


def test_schedules_are_set_and_shown(fleetwide: Command) -> None:
    every = ["gc", "reconcile", "scrub", "retention"]
    listed = fleetwide(*GC, "schedule", "-o", "name")
    assert listed.out.split() == [f"registry-{kind}/scheduled" for kind in every]
    changed = fleetwide(*GC, "schedule", "--scrub-hours", "0", "--reconcile-hours", "12")
    lines = {line.split()[0]: line for line in changed.out.splitlines()}
    assert (" 12 h " in lines["reconcile"], " 1 h " in lines["gc"]) == (True, True)
    assert "scrub" not in lines
    never = ("--gc-minutes", "0", "--reconcile-hours", "0", "--retention-hours", "0")
    assert fleetwide(*GC, "schedule", *never, "-o", "name").out == ""
    assert fleetwide(*GC, "schedule", "--gc-minutes", "-1").code == 3


def test_a_reconciliation_and_a_scrub_are_run_and_reported(fleetwide: Command) -> None:
    one = fleetwide("registry", "reconcile", "run", "--repository", "apps/hello", "-o", "json")
    assert (one.code, json.loads(one.out)["repositories"]) == (0, 1)
    scrubbed = fleetwide("registry", "scrub", "run", "--bytes-per-second", "100MiB")
    assert scrubbed.code == 0, scrubbed.err
    assert "broken:" in scrubbed.out
    for kind in ("reconcile", "scrub"):
        reports = fleetwide("registry", kind, "report", "-o", "name").out
        assert reports.startswith(f"registry-{kind}/")
    assert fleetwide("registry", "scrub", "run", "--bytes-per-second", "much").code == 3
    assert fleetwide("registry", "reconcile", "run", "--adoption", "maybe").code != 0

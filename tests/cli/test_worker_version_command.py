"""``fleetwide worker-version`` against a whole control plane, whose workers have no build id."""

import json

from tests.cli.conftest import Command


def test_builds_are_listed_and_what_would_stop_everything_is_refused(fleetwide: Command) -> None:
    listed = fleetwide("worker-version", "list", "-o", "json")
    assert listed.code == 0, listed.err
    found = json.loads(listed.out)
    assert found["current"] == "unversioned"
    assert [item["build_id"] for item in found["items"]] == ["unversioned"]
    assert "unversioned  current" in " ".join(fleetwide("worker-version", "list").out.split(" "))
    refused = fleetwide("worker-version", "promote", "1.5.0", "--reason", "a test")
    assert refused.code != 0
    assert "hint: FLEETWIDE_BUILD_ID=1.5.0 fleetwide worker control" in refused.err
    back = fleetwide("worker-version", "rollback", "--reason", "a test")
    assert "there is nothing to go back to" in back.err
    shown = fleetwide("worker-version", "show", "unversioned")
    assert "current" in shown.out

"""``fleetwide capacity-group`` against a whole control plane."""

import json

from tests.cli.conftest import Command


def test_a_group_is_made_changed_shown_and_removed(fleetwide: Command) -> None:
    made = fleetwide(
        "capacity-group", "set", "shop", "--tier", "Critical", "--guarantee", "cpu=1",
        "--guarantee", "memory=64MiB", "--cap", "cpu=2", "--reason", "a test",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert "1 CPU, 0.0625 GiB" in made.out
    changed = fleetwide(
        "capacity-group", "set", "shop", "--guarantee", "memory=none", "--reason", "less",
        "-o", "json",
    )  # fmt: skip
    found = json.loads(changed.out)
    assert (found["revision"], found["tier"]) == (2, "Critical")
    assert {name: amount for name, amount in found["guarantee"].items() if amount} == {"cpu": 1}
    listed = fleetwide("capacity-group", "list", "-o", "name").out.split()
    assert listed == ["default", "shop"]
    stale = fleetwide("capacity-group", "delete", "shop", "--reason", "x", "--revision", "1")
    assert "revision 2, not revision 1" in stale.err
    gone = fleetwide("capacity-group", "delete", "shop", "--reason", "a test")
    assert gone.code == 0, gone.err

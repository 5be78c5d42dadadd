"""``fleetwide scheduler`` against a whole control plane."""

import json

from tests.cli.conftest import Command


def test_the_holder_of_the_lease_is_shown(fleetwide: Command) -> None:
    shown = fleetwide("scheduler", "show")
    assert shown.code == 0, shown.err
    found = json.loads(fleetwide("scheduler", "show", "-o", "json").out)
    assert found["holder"] in shown.out
    assert found["token"] >= 1

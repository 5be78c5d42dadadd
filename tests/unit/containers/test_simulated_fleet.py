"""Fleets of simulated hosts: their ids, zones, sizes, labels."""

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from fleetwide.containers.placement.specs import traits_of
from fleetwide.containers.simulated_fleet import SimulatedFleet


def test_hosts_are_numbered_and_go_round_the_zones_and_sizes() -> None:
    hosts = SimulatedFleet(count=18, prefix="load").hosts()
    assert [hosts[0].host_id, hosts[17].host_id] == ["load-0001", "load-0018"]
    kinds = Counter((host.labels["zone"], host.cpu, int(host.memory)) for host in hosts)
    assert set(kinds.values()) == {2}
    assert len(kinds) == 9
    assert {cpu for _, cpu, _ in kinds} == {4, 8, 16}


def test_they_are_labelled_and_tainted_so_that_no_real_work_lands_on_them() -> None:
    [host] = SimulatedFleet(count=1).hosts()
    assert host.labels["simulated"] == "true"
    assert traits_of(host.labels).taints == {"simulated"}
    [open_to_all] = SimulatedFleet(count=1, tainted=False).hosts()
    assert traits_of(open_to_all.labels).taints == frozenset()


def test_the_more_there_are_the_more_rarely_each_reports() -> None:
    reports = [SimulatedFleet(count=count).report_seconds for count in (1, 30, 600, 10_000)]
    assert reports == [1, 1, 20, 30]
    assert SimulatedFleet(count=600).hosts()[599].report_seconds == 20


@pytest.mark.parametrize(
    ("given", "field", "complaint"),
    [
        ({"count": 0}, "count", "greater than or equal to 1"),
        ({"sizes": ["big"]}, "sizes", "such as 8x32GiB"),
        ({"sizes": []}, "sizes", "at least 1 item"),
        ({"zones": []}, "zones", "at least 1 item"),
        ({"prefix": "Sim_"}, "prefix", "pattern"),
        ({"scenario": "walk=2s"}, "scenario", "no part of a scenario"),
    ],
)
def test_what_makes_no_fleet_is_told(given: dict[str, Any], field: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as told:
        SimulatedFleet.model_validate({"count": 3, **given})
    assert told.value.errors()[0]["loc"][0] == field

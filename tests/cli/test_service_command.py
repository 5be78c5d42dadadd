"""``fleetwide service`` against a whole control plane."""

import json
from pathlib import Path

import yaml

from tests.api.harness import task_spec
from tests.cli.conftest import Command

WHY = ("--reason", "a test", "--by", "ada")


def test_a_service_from_its_start_to_its_end(fleetwide: Command, tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    spec = {**task_spec("sleep"), "capacity": {"desired": 1, "max": 5}}
    path.write_text(yaml.safe_dump(spec))
    begun = fleetwide("service", "run", "web", "-f", str(path))
    assert begun.code == 0, begun.err
    fleetwide("service", "scale", "web", "--desired", "2", *WHY)
    shown = json.loads(fleetwide("service", "show", "web", "-o", "json").out)
    assert shown["status"]["capacity"]["desired"] == 2

    path.write_text(yaml.safe_dump({**spec, "owner": "team"}))
    planned = fleetwide("service", "plan", "web", "-f", str(path))
    assert "+ owner: team" in planned.out or "~ owner" in planned.out
    index = planned.out.rsplit("--expected-version ", 1)[1].strip()
    done = fleetwide("service", "deploy", "web", "-f", str(path), "--expected-version", index, *WHY)
    assert done.code == 0, done.err
    late = fleetwide("service", "deploy", "web", "-f", str(path), "--expected-version", index)
    assert "fleetwide service show web" in late.err

    assert "web" in fleetwide("service", "list").out
    assert "1 to 2 copies" in fleetwide("service", "history", "web").out
    assert "a test" in fleetwide("service", "revisions", "web").out
    fleetwide("service", "processes", "web", "--no-increase", *WHY)
    refused = fleetwide("service", "scale", "web", "--desired", "3", *WHY)
    assert "disable_increase_desired" in refused.err
    assert fleetwide("service", "copies", "web").code == 0
    assert fleetwide("service", "delete", "web", *WHY).code == 0
